package twin

import (
	"fmt"
	"strings"
)

// Difference is one between a Pod and a MiniPod that is meant.
type Difference struct {
	// Key is a regular expression of what is compared, as view_test.go names it; Pod and MiniPod are of what the two say there.
	Key, Pod, MiniPod string
	// At is the moment at which it is meant; any if it is empty.
	At string
	// What and Why are for people.
	What, Why string
}

const (
	anything = ".*"
	// anyContainer is any container's name, of whatever kind.
	anyContainer = "(init )?[a-z]"
)

// Differences are all that are meant.
var Differences = []Difference{
	{"condition PodScheduled", "True", "True Scheduled .*", "",
		"Conditions that are true have a reason, and `PodScheduled` a message with the node", "kstatus and `metav1.Condition` want a reason; a Pod's conditions are of an older type"},
	{"condition (Ready|ContainersReady)", "True", "True ContainersReady", "", "", ""},
	{"condition Initialized", "True( PodCompleted)?", "True (ContainersInitialized|PodCompleted)", "", "", ""},
	{"condition PodScheduled", "False Unschedulable .*", "False Unschedulable .*", "",
		"The message of `Unschedulable` has other words", "it is another scheduler's, and says what is asked for and what is free"},
	{"condition PodReadyToStartContainers", anything, "", "",
		"There is no condition `PodReadyToStartContainers`", "it tells when a network plugin was done, which is a thousandth of a second here"},
	{"(pod|host)IPs", "[01]", "0", "",
		"There are no `podIPs` and `hostIPs`", "there is one address of each, which `podIP` and `hostIP` have"},
	{anyContainer + " (resources|user|volumeMounts)", "some", "none", "",
		"The status of a container does not repeat its resources, user and volumeMounts, but for those with `recursiveReadOnly`", "they do not change while it runs; the spec says them, and every status is smaller"},
	{"observedGeneration", "2", "1", "",
		"A deletion is not confirmed by a write of its own (`observedGeneration`)", "it would be one write more for each MiniPod"},
	{"observedGeneration", "0", "1", "",
		"The scheduler says which generation it speaks of", "kstatus wants it"},
	{"kubectl STATUS", "Terminating", anything, "",
		"`kubectl get` does not say `Terminating`", "kubectl has the word for native Pods only; `kubectl describe` shows the Deletion Timestamp"},
	{"kubectl STATUS", anything, "DeadlineExceeded", "",
		"STATUS of a MiniPod that was active for too long is `DeadlineExceeded`, of a Pod how its containers ended", "why all of it ended says more"},
	{anyContainer, "waiting (ErrImagePull|ImagePullBackOff) .*", "waiting (ErrImagePull|ImagePullBackOff) .*", "",
		"The message of an image that cannot be had has other words", "the agent asks registries itself, and says which one answered what"},
	{anyContainer, "waiting ErrImageNeverPull .*", "waiting ErrImageNeverPull .*", "", "", ""},
	{anyContainer, "waiting InvalidImageName .*", "waiting InvalidImageName .*", "", "", ""},
	{anyContainer, "waiting CreateContainerConfigError .*", "waiting CreateContainerConfigError .*", "",
		"The message of `CreateContainerConfigError` has other words", "it says which variable or which path it is about, and what to change"},
	{anyContainer, "waiting (ContainerCreating|PodInitializing)", `waiting (ContainerCreating|PodInitializing) "volume .*`, "",
		"A container that waits for a volume says which, and why", "of a Pod only an Event tells"},
	{anyContainer + "( last)?", "terminated 128 StartError .*", "terminated 128 StartError .* since nobody knows when", "",
		"The message of a program that is not there has other words, and there is no time since when it ran", "the runtime is called without the layer between; a Pod says 1970"},
	{anyContainer + " (containerID|imageID)", "some", "none", "",
		"A container that could not be started has no `containerID` and `imageID`", "it is removed at once, so that nothing of it is left on the node"},
	{anyContainer, "terminated 0 Completed .*Seccomp:.t0.*", "terminated 0 Completed .*Seccomp:.t2.*", "",
		"System calls are filtered (`RuntimeDefault`) also when nothing is said", "it is the safer side, and what `restricted` asks for"},
	{anyContainer, "(terminated|waiting RunContainerError) .*", "waiting CrashLoopBackOff .*", "",
		"A container that is going to be started again says `CrashLoopBackOff` at once", "a kubelet says how it ended until it looks again, which may be after its next start"},
	{"kubectl STATUS", "(Init:)?(Completed|Error|OOMKilled|StartError|RunContainerError|Running)", "(Init:)?CrashLoopBackOff", "", "", ""},
	{"qosClass", anything, "", "condition PodScheduled: False",
		"There is no `qosClass` before there is a node", "the node's agent says it"},
	{"podIP", "none", "some", "",
		"A MiniPod has its address while its volumes and images are waited for", "the sandbox is made meanwhile, so that the start takes no longer"},
	{anyContainer, "terminated 137 ContainerStatusUnknown .*", "waiting .*", "phase: Failed",
		"A container that never began, of a MiniPod that was active for too long, still says what it waited for", "a Pod says that it ended with 137 and could not be found"},
	{anything, anything, anything, "gone",
		"The end of a MiniPod that is being deleted is not written into its status", "it would be one write more for each MiniPod, that nobody has time to read; the finalizer tells when all of it has ended"},
}

// Page has them in Markdown.
func Page() string {
	var out strings.Builder
	out.WriteString("| difference | why |\n|---|---|\n")
	for _, d := range Differences {
		if d.What != "" {
			fmt.Fprintf(&out, "| %s | %s |\n", d.What, d.Why)
		}
	}
	return out.String()
}
