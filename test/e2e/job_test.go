package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// jobManifest is a MiniJob whose container runs a shell script; spec is what else it says.
func jobManifest(name, script string, spec ...string) string {
	var more strings.Builder
	for _, line := range spec {
		more.WriteString("  " + line + "\n")
	}
	return fmt.Sprintf(`
apiVersion: miniplane.dev/v1alpha1
kind: MiniJob
metadata: {name: %s}
spec:
%s  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: %s
        command: [sh, -c, %q]
        resources: {requests: {cpu: 0.01, memory: 4Mi}}
`, name, more.String(), busybox, script)
}

// waitJob waits until a MiniJob's status reads like this.
func waitJob(t *testing.T, ns, name, want string) {
	t.Helper()
	eventually(t, 2*patience, ns, &miniv1.MiniJobList{}, name+" is "+want, func() (bool, string) {
		out, err := tryKubectl(t, ns, "", "get", "mjob", name, "-o",
			"jsonpath={.status.summary} {.status.progress} active={.status.active} failed={.status.failed} {.status.completedIndexes}/{.status.failedIndexes}")
		return err == nil && strings.TrimSuffix(out, " /") == want, out
	})
}

// A MiniJob runs to its end, is shown as kubectl shows a Job, and goes when its time is over, with all that it made.
func TestJob(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	apply(t, ns, jobManifest("work", "sleep 1", "completions: 5", "parallelism: 2"))
	kubectl(t, ns, "wait", "mjob/work", "--for=condition=complete", "--timeout=120s")
	waitJob(t, ns, "work", "Complete 5/5 active=0 failed=0")
	out := kubectl(t, ns, "get", "mjob")
	for _, want := range []string{"STATUS", "COMPLETIONS", "DURATION", "AGE", "Complete", "5/5"} {
		if !strings.Contains(out, want) {
			t.Errorf("kubectl get mjob does not show %q:\n%s", want, out)
		}
	}
	list := pods(t, ns, client.MatchingLabels{batchv1.JobNameLabel: "work"})
	if len(list) != 5 {
		t.Errorf("%d MiniPods are there to look at, want 5", len(list))
	}
	for _, pod := range list {
		if pod.Status.Phase != miniv1.PodSucceeded || slices.Contains(pod.Finalizers, miniv1.JobFinalizer) {
			t.Errorf("%s is %s, and holds %v", pod.Name, pod.Status.Phase, pod.Finalizers)
		}
	}
	if out := kubectl(t, ns, "get", "events", "--field-selector", "reason=Completed", "-o", "name"); strings.Count(out, "event") != 1 {
		t.Errorf("Events of its end: %q", out)
	}
	kubectl(t, ns, "patch", "mjob", "work", "--type=merge", "-p", `{"spec":{"ttlSecondsAfterFinished":1}}`)
	eventually(t, 2*patience, ns, &miniv1.MiniPodList{}, "all of it gone", func() (bool, string) {
		out := kubectl(t, ns, "get", "mjob,mpo", "--ignore-not-found", "-o", "name")
		return out == "", out
	})
}

// Each index knows its number, and has a host name of it. One that fails for good fails the MiniJob, when the others are done.
func TestJobIndexes(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	script := `echo -n "$JOB_COMPLETION_INDEX $(hostname)" >/dev/termination-log; [ "$JOB_COMPLETION_INDEX" != 1 ]`
	apply(t, ns, jobManifest("pieces", script, "completionMode: Indexed", "completions: 4", "parallelism: 4", "backoffLimitPerIndex: 0"))
	waitJob(t, ns, "pieces", "Failed 3/4 active=0 failed=1 0,2,3/1")
	if reason := kubectl(t, ns, "get", "mjob", "pieces", "-o", `jsonpath={.status.conditions[?(@.type=="Failed")].reason}`); reason != "FailedIndexes" {
		t.Errorf("failed because of %q", reason)
	}
	said := map[string]bool{}
	for _, pod := range pods(t, ns) {
		said[pod.Status.ContainerStatuses[0].State.Terminated.Message] = true
		if !strings.HasPrefix(pod.Name, "pieces-"+pod.Labels[batchv1.JobCompletionIndexAnnotation]+"-") {
			t.Errorf("%s has index %s", pod.Name, pod.Labels[batchv1.JobCompletionIndexAnnotation])
		}
	}
	want := []string{"0 pieces-0", "1 pieces-1", "2 pieces-2", "3 pieces-3"}
	if got := slices.Sorted(maps.Keys(said)); !slices.Equal(got, want) {
		t.Errorf("containers said %q, want %q", got, want)
	}
	kubectl(t, ns, "delete", "mjob", "pieces", "--timeout=60s")
}

// What a failure means: an exit code that no other try would change ends the MiniJob; others are tried again, up to a limit.
func TestJobFails(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	apply(t, ns, jobManifest("hopeless", "exit 42", "backoffLimit: 5",
		"podFailurePolicy: {rules: [{action: FailJob, onExitCodes: {containerName: main, operator: In, values: [42]}}]}")+"---"+
		jobManifest("late", "sleep 600", "activeDeadlineSeconds: 3")+"---"+
		jobManifest("often", "exit 1", "backoffLimit: 1"))
	for name, want := range map[string]struct{ status, reason string }{
		"hopeless": {"Failed 0/1 active=0 failed=1", "PodFailurePolicy"},
		"late":     {"Failed 0/1 active=0 failed=1", "DeadlineExceeded"},
		"often":    {"Failed 0/1 active=0 failed=2", "BackoffLimitExceeded"},
	} {
		waitJob(t, ns, name, want.status)
		kubectl(t, ns, "wait", "mjob/"+name, "--for=condition=failed", "--timeout=60s")
		if out := kubectl(t, ns, "get", "events", "--field-selector", "type=Warning,involvedObject.name="+name, "-o", "jsonpath={.items[*].reason}"); out != want.reason {
			t.Errorf("%s: Events %q, want %q", name, out, want.reason)
		}
	}
	kubectl(t, ns, "delete", "mjob", "--all", "--timeout=60s")
}

// A MiniJob that is suspended has no MiniPods, and counts none of those that it had; resumed, it goes on, where it may run by then.
func TestJobSuspend(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	apply(t, ns, jobManifest("work", `sleep ${LONG:-600}`, "parallelism: 2", "completions: 2"))
	waitJob(t, ns, "work", "Running 0/2 active=2 failed=0")
	kubectl(t, ns, "patch", "mjob", "work", "--type=merge", "-p", `{"spec":{"suspend":true}}`)
	waitJob(t, ns, "work", "Suspended 0/2 active=0 failed=0")
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "no MiniPods", func() (bool, string) {
		left := pods(t, ns)
		return len(left) == 0, fmt.Sprint(len(left))
	})
	kubectl(t, ns, "patch", "mjob", "work", "--type=merge", "-p", `{"spec":{"template":{"metadata":{"labels":{"again":"yes"}}}}}`)
	if out, err := tryKubectl(t, ns, "", "patch", "mjob", "work", "--type=json", "-p",
		`[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"other"}]`); err == nil || !strings.Contains(out, "image of container main of the template cannot be changed") {
		t.Errorf("another image: %v\n%s", err, out)
	}
	kubectl(t, ns, "patch", "mjob", "work", "--type=merge", "-p", `{"spec":{"suspend":false}}`)
	waitJob(t, ns, "work", "Running 0/2 active=2 failed=0")
	if got := len(pods(t, ns, client.MatchingLabels{"again": "yes"})); got != 2 {
		t.Errorf("%d MiniPods with the new label", got)
	}
	// Deleted without a word, it leaves nothing.
	kubectl(t, ns, "delete", "mjob", "work", "--timeout=60s")
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "no MiniPods", func() (bool, string) {
		left := pods(t, ns)
		return len(left) == 0, fmt.Sprint(len(left))
	})
}

// One that somebody deletes is replaced, and has failed.
func TestJobReplaces(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	apply(t, ns, jobManifest("work", "sleep 600", "backoffLimit: 3"))
	waitJob(t, ns, "work", "Running 0/1 active=1 failed=0")
	kubectl(t, ns, "delete", "minipod", pods(t, ns)[0].Name, "--wait=false")
	waitJob(t, ns, "work", "Running 0/1 active=1 failed=1")
	kubectl(t, ns, "delete", "mjob", "work", "--timeout=60s")
}

// The whole life of a MiniJob's MiniPod costs the API server at most seven writes and one Event: create, bind, Running, its end, counted, delete,
// let go.
func TestWritesPerMiniPodOfAJob(t *testing.T) {
	long(t)
	const n = 30
	ns := namespace(t)
	beforePods, beforeEvents := writes(t, "minipods"), writes(t, "events")
	apply(t, ns, jobManifest("work", "sleep 1", fmt.Sprintf("completions: %d", n), "parallelism: 10"))
	waitJob(t, ns, "work", fmt.Sprintf("Complete %[1]d/%[1]d active=0 failed=0", n))
	kubectl(t, ns, "delete", "mjob", "work", "--cascade=foreground", "--timeout=120s")
	perPod, eventsPerPod := (writes(t, "minipods")-beforePods)/n, (writes(t, "events")-beforeEvents)/n
	t.Logf("%.2f writes and %.2f Events per MiniPod", perPod, eventsPerPod)
	// Kubernetes' garbage collector asks for the deletion of some a second time.
	if perPod > 7.4 {
		t.Errorf("%.2f writes per MiniPod, want 7", perPod)
	}
	if eventsPerPod > 1 {
		t.Errorf("%.2f Events per MiniPod, want at most 1", eventsPerPod)
	}
}

// The manager is killed again and again while a MiniJob runs: every MiniPod counts once.
func TestJobAndManagerKilled(t *testing.T) {
	long(t)
	const n = 20
	ns := namespace(t)
	apply(t, ns, jobManifest("work", "sleep 1", fmt.Sprintf("completions: %d", n), "parallelism: 4"))
	for _, least := range []int32{1, 6, 12} {
		eventually(t, 2*patience, ns, &miniv1.MiniJobList{}, fmt.Sprintf("at least %d have ended", least), func() (bool, string) {
			var j miniv1.MiniJob
			err := api.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "work"}, &j)
			return err == nil && j.Status.Succeeded >= least, fmt.Sprintf("%d, %v", j.Status.Succeeded, err)
		})
		cluster.fault(t, "manager-kill")
		cluster.fault(t, "manager-start")
	}
	waitJob(t, ns, "work", fmt.Sprintf("Complete %[1]d/%[1]d active=0 failed=0", n))
	if got := len(pods(t, ns)); got != n {
		t.Errorf("%d MiniPods were made for %d", got, n)
	}
	kubectl(t, ns, "delete", "mjob", "work", "--timeout=60s")
}
