package node

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/builders"
	"miniplane.dev/miniplane/test/containerdenv"
)

// sh makes a MiniPod that runs a shell script.
func (e *env) sh(name, script string, change ...func(*miniv1.MiniPod)) *miniv1.MiniPod {
	return builders.Pod(e.namespace, name).With(func(p *miniv1.MiniPod) {
		grace := int64(0)
		p.UID = ""
		p.Finalizers = []string{miniv1.AgentFinalizer}
		p.Spec.RestartPolicy = corev1.RestartPolicyAlways
		p.Spec.TerminationGracePeriodSeconds = &grace
		p.Spec.Containers[0].Image = "busybox:test"
		p.Spec.Containers[0].Command = []string{"/bin/busybox", "sh", "-c", script}
		for _, f := range change {
			f(p)
		}
	}).Obj()
}

// run creates and binds a MiniPod.
func (e *env) run(pod *miniv1.MiniPod) *miniv1.MiniPod {
	e.t.Helper()
	if err := e.api.Create(context.Background(), pod); err != nil {
		e.t.Fatal(err)
	}
	e.bind(pod)
	return pod
}

// bind plays the scheduler.
func (e *env) bind(pod *miniv1.MiniPod) {
	e.t.Helper()
	patch := fmt.Appendf(nil, `{"status":{"nodeName":%q,"phase":"Pending","summary":"ContainerCreating"}}`, e.name)
	if err := e.api.Status().Patch(context.Background(), pod, client.RawPatch(types.MergePatchType, patch)); err != nil {
		e.t.Fatal(err)
	}
}

// get is the MiniPod as the API server has it; nil if it is gone.
func (e *env) get(name string) *miniv1.MiniPod {
	e.t.Helper()
	pod := &miniv1.MiniPod{}
	err := e.api.Get(context.Background(), types.NamespacedName{Namespace: e.namespace, Name: name}, pod)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		e.t.Fatal(err)
	}
	return pod
}

// shows waits for a summary, or for one of several that follow each other faster than one may look.
func (e *env) shows(name string, summaries ...string) *miniv1.MiniPod {
	e.t.Helper()
	var pod *miniv1.MiniPod
	e.until(name+" shows "+strings.Join(summaries, " or "), func() bool {
		pod = e.get(name)
		return pod != nil && slices.Contains(summaries, pod.Status.Summary)
	})
	return pod
}

func (e *env) delete(name string) {
	e.t.Helper()
	if err := e.api.Delete(context.Background(), builders.Pod(e.namespace, name).Obj()); err != nil {
		e.t.Fatal(err)
	}
}

// gone waits until the API server has forgotten a MiniPod.
func (e *env) gone(name string) {
	e.t.Helper()
	e.until(name+" is gone", func() bool { return e.get(name) == nil })
}

// logOf is what the current container of a MiniPod wrote.
func (e *env) logOf(pod *miniv1.MiniPod) string {
	text, _ := os.ReadFile(filepath.Join(e.rootDir(), "logs", fmt.Sprintf("%s_%s_%s", pod.Namespace, pod.Name, pod.UID), "main",
		fmt.Sprintf("%d.log", pod.Status.Restarts)))
	return string(text)
}

// leftovers is everything on the machine that belongs to MiniPods.
func (e *env) leftovers() (out []string) {
	e.t.Helper()
	links := e.ns.Run("ip", "-br", "link")
	for line := range strings.Lines(links) {
		if name := strings.Fields(line)[0]; name != "lo" && !strings.HasPrefix(name, "outside") && !strings.HasPrefix(name, "minivx") {
			out = append(out, "link "+name)
		}
	}
	for _, pattern := range []string{e.stateDir() + "/sandboxes/*", e.stateDir() + "/network/*", e.stateDir() + "/containers/*",
		e.stateDir() + "/shim-*/c/*", e.stateDir() + "/volumes/*",
		e.rootDir() + "/[^b]*/*", // all but programs, in bin
		"/sys/fs/cgroup/cpu" + e.cgroup + "/pod*", "/sys/fs/cgroup" + e.cgroup + "/pod*"} {
		found, _ := filepath.Glob(pattern)
		out = append(out, found...)
	}
	c := e.containerd.Client(e.t)
	defer c.Close()
	ctx := namespaces.WithNamespace(context.Background(), containerdenv.Namespace)
	containers, err := c.Containers(ctx)
	if err != nil {
		e.t.Fatal(err)
	}
	for _, c := range containers {
		out = append(out, "container "+c.ID())
	}
	err = c.SnapshotService("overlayfs").Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if info.Kind == snapshots.KindActive {
			out = append(out, "snapshot "+info.Name)
		}
		return nil
	})
	if err != nil {
		e.t.Fatal(err)
	}
	shims, _ := exec.Command("pgrep", "-af", "containerd-shim.*"+e.containerd.Address).Output()
	for line := range strings.Lines(string(shims)) {
		if line = strings.TrimSpace(line); !strings.HasSuffix(line, " serve") { // our servers stay; what they have is counted above
			out = append(out, "shim "+line)
		}
	}
	return out
}

// clean waits until nothing is left.
func (e *env) clean() {
	e.t.Helper()
	var left []string
	defer func() {
		for _, what := range left {
			e.t.Log("left: ", what)
		}
	}()
	e.until("nothing is left", func() bool { left = e.leftovers(); return len(left) == 0 })
}
