package node

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
)

// containerLog is what the first container of a MiniPod has written in one of its runs.
func (e *env) containerLog(pod *miniv1.MiniPod, attempt int) string {
	path := filepath.Join(e.rootDir(), "logs", fmt.Sprintf("%s_%s_%s", pod.Namespace, pod.Name, pod.UID), pod.Spec.Containers[0].Name,
		fmt.Sprintf("%d.log", attempt))
	text, _ := os.ReadFile(path)
	return string(text)
}

// pressure is the status of the MiniNode's condition PIDPressure.
func (e *env) pressure() metav1.ConditionStatus {
	e.t.Helper()
	node := &miniv1.MiniNode{}
	if err := e.api.Get(e.t.Context(), types.NamespacedName{Name: e.name}, node); err != nil {
		e.t.Fatal(err)
	}
	if c := meta.FindStatusCondition(node.Status.Conditions, miniv1.ConditionPIDPressure); c != nil {
		return c.Status
	}
	return ""
}

// TestForkBomb: a MiniPod that makes processes without end gets as many as it may have. Its neighbours run on, new ones start, the
// machine starts programs; and when it is deleted, all of it ends. Bombs enough for the whole lane are told as PIDPressure.
func TestForkBomb(t *testing.T) {
	const perPod, lane = 150, 490
	e := newEnv(t, fmt.Sprintf("--pod-max-pids=%d", perPod), fmt.Sprintf("--pids=%d", lane))
	e.until("there is no pressure", func() bool { return e.pressure() == metav1.ConditionFalse })
	neighbour := e.run(e.sh("neighbour", "i=0; while :; do i=$((i+1)); echo $i >/tmp/beat; usleep 20000; done"))
	before := e.shows("neighbour", "Running")
	// Each process makes two, and stays. When fork fails, it tries again.
	const bomb = `echo '#!/bin/sh
while :; do /bin/sh /b & /bin/sh /b & wait; done' > /b; while :; do /bin/sh /b; done`
	for _, name := range []string{"bomb-0", "bomb-1"} {
		pod := e.run(e.sh(name, bomb))
		e.shows(name, "Running")
		group := filepath.Join(e.cgroup, "pod"+string(pod.UID))
		e.until(name+" has all the processes that it may have", func() bool {
			n, err := cgroup.PIDCount(group)
			if err != nil || n > perPod {
				t.Fatalf("%s has %d processes, %v", name, n, err)
			}
			return n >= perPod-2
		})
	}
	if n, err := cgroup.PIDCount(e.cgroup); err != nil || n > lane {
		t.Errorf("the lane has %d processes, %v", n, err)
	}
	if out, err := exec.Command("true").CombinedOutput(); err != nil {
		t.Errorf("the machine starts no program: %v %s", err, out)
	}
	// The neighbour can start programs (usleep is one), and others come beside it.
	beat := func() string {
		pid, err := exec.Command("sh", "-c", "cat /sys/fs/cgroup/pids"+e.cgroup+"/pod"+string(neighbour.UID)+"/*/cgroup.procs /sys/fs/cgroup"+e.cgroup+"/pod"+string(neighbour.UID)+"/*/cgroup.procs 2>/dev/null | head -1").Output()
		if err != nil {
			t.Fatal(err)
		}
		text, _ := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/root/tmp/beat")
		return string(text)
	}
	first := beat()
	e.until("the neighbour goes on", func() bool { now := beat(); return now != "" && now != first })
	e.run(e.sh("newcomer", "sleep 1000"))
	e.shows("newcomer", "Running")

	// A third one: the lane is nearly full, and the agent says so.
	e.run(e.sh("bomb-2", bomb))
	e.until("the node is short of processes", func() bool { return e.pressure() == metav1.ConditionTrue })
	for _, name := range []string{"bomb-0", "bomb-1", "bomb-2"} {
		e.delete(name)
	}
	for _, name := range []string{"bomb-0", "bomb-1", "bomb-2"} {
		e.gone(name)
	}
	e.until("the node is no longer short of processes", func() bool { return e.pressure() == metav1.ConditionFalse })
	after := e.get("neighbour")
	if after.Status.Restarts != 0 || after.Status.PodIP != before.Status.PodIP || after.Status.Summary != "Running" {
		t.Errorf("the neighbour: %+v", after.Status)
	}
}

// TestForkBombsTogether: bombs that stay each within their own limit fill the lane together. One after the other gives way: the neighbour,
// which starts a program all the time, goes on and is never ended; a new MiniPod starts; the agent lives.
func TestForkBombsTogether(t *testing.T) {
	const perPod, lane, bombs = 200, 470, 5
	e := newEnv(t, fmt.Sprintf("--pod-max-pids=%d", perPod), fmt.Sprintf("--pids=%d", lane))
	// awk goes on when a program cannot be started, and tells how many could.
	neighbour := e.run(e.sh("neighbour", `exec awk 'BEGIN { for (;;) if (system("usleep 20000") == 0) print "beat" }'`))
	e.shows("neighbour", "Running")
	beats := func() int { return strings.Count(e.containerLog(neighbour, 0), "beat") }
	e.until("the neighbour starts programs", func() bool { return beats() > 10 })
	const bomb = `echo '#!/bin/sh
while :; do /bin/sh /b & /bin/sh /b & wait; done' > /b; while :; do /bin/sh /b; done`
	var uids []string
	for i := range bombs {
		uids = append(uids, string(e.run(e.sh(fmt.Sprint("bomb-", i), bomb)).UID))
	}
	ended := func() []string {
		var out []string
		for _, uid := range append(uids, string(neighbour.UID)) {
			for line := range strings.Lines(e.wholeLog()) {
				if strings.Contains(line, "Ended the processes of the MiniPod") && strings.Contains(line, uid) {
					out = append(out, uid)
				}
			}
		}
		return out
	}
	e.until("some give way", func() bool { return len(ended()) >= 3 })
	e.run(e.sh("newcomer", "sleep 1000"))
	e.shows("newcomer", "Running")
	before := beats()
	e.until("the neighbour goes on", func() bool { return beats() > before+50 })
	if n, err := cgroup.PIDCount(e.cgroup); err != nil || n > lane {
		t.Errorf("the lane has %d processes, %v", n, err)
	}
	e.until("an Event says why", func() bool {
		var events eventsv1.EventList
		if err := e.api.List(t.Context(), &events, client.InNamespace(e.namespace)); err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(events.Items, func(ev eventsv1.Event) bool {
			return ev.Reason == miniv1.ReasonInsufficientPIDs && slices.Contains(uids, string(ev.Regarding.UID))
		})
	})
	if out, err := e.ns.Try("curl", "-sf", "http://127.0.0.1:10350/readyz"); err != nil {
		t.Errorf("the agent: %s %v", out, err)
	}
	for i := range bombs {
		e.delete(fmt.Sprint("bomb-", i))
	}
	for i := range bombs {
		e.gone(fmt.Sprint("bomb-", i))
	}
	for _, name := range []string{"neighbour", "newcomer"} {
		if after := e.get(name); after.Status.Restarts != 0 || after.Status.Summary != "Running" {
			t.Errorf("%s: %+v", name, after.Status)
		}
	}
	t.Logf("%d times somebody gave way", len(ended()))
	if slices.Contains(ended(), string(neighbour.UID)) {
		t.Error("the neighbour was ended")
	}
}

// TestLimitOfEarlierMiniPods: MiniPods that an agent with another limit, or none, made have this agent's from its start on.
func TestLimitOfEarlierMiniPods(t *testing.T) {
	e := newEnv(t, "--pod-max-pids=0")
	pod := e.run(e.sh("early", "sleep 1000"))
	e.shows("early", "Running")
	e.term()
	e.flags = []string{"--pod-max-pids=123"}
	e.start()
	e.until("the limit is there", func() bool {
		for _, root := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
			text, _ := os.ReadFile(filepath.Join(root, e.cgroup, "pod"+string(pod.UID), "pids.max"))
			if strings.TrimSpace(string(text)) == "123" {
				return true
			}
		}
		return false
	})
}

// TestFilesAreFilled: a container that fills the files that every MiniPod has comes to an end that is its own. The machine's /run and
// the others' starts know nothing of it, the agent reads none of it, a restarted agent lives with it, and the container's next run
// finds the files as they should be.
func TestFilesAreFilled(t *testing.T) {
	e := newEnv(t)
	greedy := e.run(e.sh("greedy", `if [ -e /dev/shm/go ]; then grep greedy /etc/hosts && echo right again; exec sleep 1000; fi
for f in hosts hostname resolv.conf; do dd if=/dev/zero of=/etc/$f bs=1M count=300 conv=notrunc; done
rm /etc/hosts; mv /bin /etc/hosts; mkfifo /etc/hosts; ls -la /etc; echo filled
until [ -e /dev/shm/go ]; do usleep 20000; done`))
	e.shows("greedy", "Running")
	e.until("the files are full", func() bool { return strings.Contains(e.containerLog(greedy, 0), "filled") })
	if log := e.containerLog(greedy, 0); strings.Count(log, "No space left on device") != 3 {
		t.Errorf("the container says:\n%s", log)
	}
	sandbox := filepath.Join(e.stateDir(), "sandboxes", string(greedy.UID))
	var used int64
	err := filepath.Walk(sandbox, func(_ string, info os.FileInfo, err error) error {
		if err == nil {
			used += info.Size()
		}
		return err
	})
	if err != nil || used > 2<<20 {
		t.Errorf("all of its files have %d bytes, %v", used, err)
	}
	for i := range 3 {
		name := fmt.Sprintf("other-%d", i)
		e.run(e.sh(name, "grep other /etc/hosts && sleep 1000"))
		e.shows(name, "Running")
	}
	e.kill()
	e.start()
	e.until("the agent is ready", func() bool {
		out, err := e.ns.Try("curl", "-sf", "http://127.0.0.1:10350/readyz")
		return err == nil && strings.HasPrefix(out, "ok")
	})
	if after := e.get("greedy"); after.Status.Summary != "Running" || after.Status.Restarts != 0 {
		t.Errorf("after the agent's restart: %+v", after.Status)
	}
	if err := os.WriteFile(filepath.Join(sandbox, "shm", "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	e.until("the files are right again", func() bool { return strings.Contains(e.containerLog(greedy, 1), "right again") })
	e.delete("greedy")
	e.gone("greedy")
	if _, err := os.Stat(sandbox); err == nil {
		t.Error("its files are left")
	}
}
