package node

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// ends runs a MiniPod to its end and returns its container's termination message.
func (e *env) ends(name, script string, change ...func(*miniv1.MiniPod)) string {
	e.t.Helper()
	e.run(e.sh(name, script, append([]func(*miniv1.MiniPod){func(p *miniv1.MiniPod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }}, change...)...))
	pod := e.shows(name, "Error", "Completed")
	return pod.Status.ContainerStatuses[0].State.Terminated.Message
}

// TestLastWords: what a container writes at last is in its status, whoever it runs as and whatever it writes; and nobody reads more
// than that, or reads it where it should not be.
func TestLastWords(t *testing.T) {
	e := newEnv(t)
	user := func(p *miniv1.MiniPod) {
		id, yes := int64(65532), true
		p.Spec.SecurityContext = &miniv1.PodSecurityContext{RunAsUser: &id, RunAsGroup: &id, RunAsNonRoot: &yes}
		p.Spec.Containers[0].SecurityContext = &miniv1.SecurityContext{ReadOnlyRootFilesystem: &yes}
	}
	path := func(p *miniv1.MiniPod) { p.Spec.Containers[0].TerminationMessagePath = "/why" }
	fallBack := func(p *miniv1.MiniPod) {
		p.Spec.Containers[0].TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
	}
	for name, tc := range map[string]struct {
		script, want string
		change       func(*miniv1.MiniPod)
	}{
		"said":         {"echo no database >/dev/termination-log; exit 5", "no database\n", nil},
		"ended-well":   {"echo all done >/dev/termination-log", "all done\n", nil},
		"nothing":      {"echo in the log; exit 5", "", nil},
		"user":         {"echo no database >/dev/termination-log; exit 5", "no database\n", user},
		"path":         {"echo no database >/why; exit 5", "no database\n", path},
		"long":         {"yes abc | head -n 50000 >/dev/termination-log; exit 5", strings.Repeat("abc\n", 1024), nil},
		"fills-it":     {"yes abc >/dev/termination-log 2>/dev/null; exit 5", strings.Repeat("abc\n", 1024), nil},
		"log":          {"echo one; echo two >&2; exit 5", "one\ntwo\n", fallBack},
		"log-well":     {"echo one", "", fallBack},
		"log-not":      {"echo one; echo two >/dev/termination-log; exit 5", "two\n", fallBack},
		"not-utf8":     {`printf 'a\377b' >/dev/termination-log; exit 5`, "a�b", nil},
		"taken-away":   {"rm -f /dev/termination-log; exit 5", "", nil},
		"not-a-file":   {"umount /dev/termination-log 2>/dev/null; exit 5", "", nil},
		"beside-hosts": {"echo x >>/etc/hosts; echo no database >/dev/termination-log; exit 5", "no database\n", nil},
	} {
		var change []func(*miniv1.MiniPod)
		if tc.change != nil {
			change = append(change, tc.change)
		}
		if got := e.ends(name, tc.script, change...); got != tc.want {
			t.Errorf("%s: %q (%d bytes), want %q", name, got[:min(len(got), 60)], len(got), tc.want[:min(len(tc.want), 60)])
		}
	}
	e.deleteAll()
	e.clean()
}

// TestLastWordsOutliveIt: one that was written while no agent was there is read by the next.
func TestLastWordsOutliveIt(t *testing.T) {
	e := newEnv(t)
	e.run(e.sh("a", "until [ -e /dev/shm/go ]; do sleep 0.05; done; echo no database >/dev/termination-log; echo said; exit 5", func(p *miniv1.MiniPod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.Containers = append(p.Spec.Containers, script("b", "sleep 1; touch /dev/shm/go; "+untilEnd))
	}))
	e.shows("a", "Running")
	e.kill()
	pod := e.get("a")
	e.until("the container has said it", func() bool { return strings.Contains(e.logOfContainer(pod, "main", 0), "said") })
	e.start()
	e.until("its message is in the status", func() bool {
		state := e.get("a").Status.ContainerStatuses[0].State.Terminated
		return state != nil && state.Message == "no database\n"
	})
	e.deleteAll()
	e.clean()
}
