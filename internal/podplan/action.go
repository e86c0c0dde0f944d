package podplan

import (
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// ActionType is something that can be done for a MiniPod.
type ActionType string

// Action types.
const (
	EnsureSandbox   ActionType = "EnsureSandbox"
	AttachNetwork   ActionType = "AttachNetwork"
	WriteFiles      ActionType = "WriteFiles"
	MakeVolumes     ActionType = "MakeVolumes" // or bring their files up to date
	LookupImage     ActionType = "LookupImage"
	PullImage       ActionType = "PullImage"
	ReadEnvironment ActionType = "ReadEnvironment" // of the ConfigMaps and Secrets that a container's variables come from
	CreateContainer ActionType = "CreateContainer"
	StartContainer  ActionType = "StartContainer"
	RunHook         ActionType = "RunHook" // begin postStart or preStop of a container
	KillContainer   ActionType = "KillContainer"
	RemoveContainer ActionType = "RemoveContainer"
	LeaveTime       ActionType = "LeaveTime" // note that the grace period of a container that nobody tells of begins
	BeginEnd        ActionType = "BeginEnd"  // write down that the end of the MiniPod begins, in which containers take turns
	CancelEnd       ActionType = "CancelEnd" // note that it goes on after all
	DetachNetwork   ActionType = "DetachNetwork"
	RemoveSandbox   ActionType = "RemoveSandbox"
	RemoveFiles     ActionType = "RemoveFiles"
	RemoveVolumes   ActionType = "RemoveVolumes"
	RemoveFinalizer ActionType = "RemoveFinalizer"
	// PruneContainer removes an old container that nobody needs any more; nothing waits for it.
	PruneContainer ActionType = "PruneContainer"
	// Wait says that there is nothing to do before Until.
	Wait ActionType = "Wait"
)

// Signal is how a container is ended.
type Signal string

// Signals.
const (
	StopSignal Signal = "StopSignal" // asks it, in the way that it, or its image, wants to be asked: mostly by SIGTERM
	SIGKILL    Signal = "SIGKILL"    // makes it
)

// Action is one thing to do. The fields that its type does not need are empty.
type Action struct {
	Type ActionType
	// Container is the name of the container in the spec: LookupImage, PullImage, ReadEnvironment, CreateContainer, StartContainer,
	// RunHook.
	Container string
	// ID of the container: StartContainer, RunHook, KillContainer, RemoveContainer, LeaveTime, PruneContainer.
	ID string
	// Attempt and Crashes are what the container to create is to remember.
	Attempt, Crashes int
	// Signal to send.
	Signal Signal
	// Hook to run.
	Hook miniv1.HookKind
	// Until is when to plan again, or when preStop is given up.
	Until time.Time
}

// launches tells whether the action takes much of the machine to bring a container up.
func (a Action) launches() bool {
	switch a.Type {
	case EnsureSandbox, AttachNetwork, WriteFiles, CreateContainer, StartContainer:
		return true
	}
	return false
}

// Launches tells whether any of the actions takes much of the machine to bring a container up.
func Launches(work []Action) bool {
	for _, a := range work {
		if a.launches() {
			return true
		}
	}
	return false
}

// Split takes the waiting out of a plan: what to do now, and when to plan again if not before (zero: when something
// happens).
func Split(actions []Action) (work []Action, until time.Time) {
	for _, a := range actions {
		switch {
		case a.Type != Wait:
			work = append(work, a)
		case until.IsZero() || a.Until.Before(until):
			until = a.Until
		}
	}
	return work, until
}
