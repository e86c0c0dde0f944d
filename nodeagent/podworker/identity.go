package podworker

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

// labelCrashes, on a container, is how often its predecessors crashed in a row when it was created. It makes the restart
// back-off survive the agent.
const labelCrashes = "miniplane.dev/crashes"

// labelSandbox, on a container of a MiniPod with init containers, is the ID of the sandbox that it was made in: in another one they run
// again.
const labelSandbox = "miniplane.dev/sandbox"

const (
	uidLength = 36
	maxID     = 76
)

// containerID is <uid>-<name>-<attempt>, with a name that is too long cut and told apart by a hash.
func containerID(uid types.UID, name string, attempt int) string {
	suffix := "-" + strconv.Itoa(attempt)
	room := maxID - len(uid) - 1 - len(suffix)
	if len(name) > room {
		name = name[:room-9] + "-" + shortHash(name)[:8]
	}
	return string(uid) + "-" + name + suffix
}

// podOf is the UID of the MiniPod that a container ID was made for.
func podOf(containerID string) (types.UID, bool) {
	if len(containerID) <= uidLength || containerID[uidLength] != '-' {
		return "", false
	}
	return types.UID(containerID[:uidLength]), true
}

// labelsFor identifies a container to a later agent.
func labelsFor(pod *miniv1.MiniPod, c *miniv1.Container, sandboxID string, attempt, crashes int) map[string]string {
	out := map[string]string{
		runtime.LabelPodUID:       string(pod.UID),
		runtime.LabelPodName:      pod.Name,
		runtime.LabelPodNamespace: pod.Namespace,
		runtime.LabelContainer:    c.Name,
		runtime.LabelAttempt:      strconv.Itoa(attempt),
		runtime.LabelSpecHash:     podplan.SpecHash(c),
		labelCrashes:              strconv.Itoa(crashes),
	}
	if sandboxID != "" && podplan.InTurn(pod) {
		out[labelSandbox] = sandboxID
	}
	return out
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

// containerOf is what plans are made from of a container: its labels say whose it is.
func containerOf(c runtime.Container) podplan.Container {
	return podplan.Container{
		ID: c.ID, Name: c.Labels[runtime.LabelContainer], SpecHash: c.Labels[runtime.LabelSpecHash],
		Attempt: number(c.Labels[runtime.LabelAttempt]), Crashes: number(c.Labels[labelCrashes]),
		Sandbox: c.Labels[labelSandbox],
		Image:   c.Image, ImageID: c.ImageID, State: podplan.State(c.State), StartedAt: c.StartedAt, FinishedAt: c.FinishedAt,
		ExitCode: c.ExitCode, OOMKilled: c.OOMKilled, ServerFailed: c.ServerFailed,
	}
}

// number reads a label of ours; 0 if somebody else wrote it.
func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// Layout is where the files of MiniPods are on this machine.
type Layout struct {
	// RootDir holds the logs. StateDir held the few small files that containers see, which sandboxes have now.
	RootDir, StateDir string
	// CgroupParent is the cgroup above all MiniPods', as in /miniplane.
	CgroupParent string
}

func (l Layout) podDir(uid types.UID) string { return filepath.Join(l.podsDir(), string(uid)) }

func (l Layout) podsDir() string { return filepath.Join(l.StateDir, "pods") }

func (l Layout) logsDir() string { return filepath.Join(l.RootDir, "logs") }

// endsDir holds the records of how MiniPods are ended.
func (l Layout) endsDir() string { return filepath.Join(l.StateDir, "ends") }

// maxFileName is what file systems allow. A MiniPod's name alone can be about as long.
const maxFileName = 255

// podLogDir is named NAMESPACE_NAME_UID, as a kubelet does it; a name that is too long for that is cut and told apart by a hash.
func (l Layout) podLogDir(namespace, name string, uid types.UID) string {
	if room := maxFileName - len(namespace) - len(uid) - len("__"); len(name) > room {
		name = name[:max(0, room-9)] + "-" + shortHash(name)[:8]
	}
	return filepath.Join(l.logsDir(), fmt.Sprintf("%s_%s_%s", namespace, name, uid))
}

func (l Layout) logPath(pod *miniv1.MiniPod, container string, attempt int) string {
	return filepath.Join(l.podLogDir(pod.Namespace, pod.Name, pod.UID), container, strconv.Itoa(attempt)+".log")
}

// podCgroupPrefix tells MiniPods' cgroups from what else is below the parent.
const podCgroupPrefix = "pod"

func (l Layout) podCgroup(uid types.UID) string {
	return filepath.Join(l.CgroupParent, CgroupOfPod(uid))
}

// CgroupOfPod is the name of a MiniPod's cgroup below the parent.
func CgroupOfPod(uid types.UID) string { return podCgroupPrefix + string(uid) }

// PodOfCgroup is the UID of the MiniPod that a cgroup below the parent is of; false if it is of none.
func PodOfCgroup(name string) (types.UID, bool) {
	uid, ok := strings.CutPrefix(name, podCgroupPrefix)
	return types.UID(uid), ok
}
