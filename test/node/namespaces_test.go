package node

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// countOf counts processes of the machine with a command line.
func countOf(cmdline string) int {
	out, _ := exec.Command("pgrep", "-fxc", cmdline).Output()
	n := 0
	_, _ = fmt.Sscan(string(out), &n)
	return n
}

// TestSharePIDs: containers see each other; what one leaves behind when it ends is ended with it, and nothing of the others; so is all of the MiniPod.
// Nobody ends the first process from inside, and an agent that is killed changes nothing.
func TestSharePIDs(t *testing.T) {
	for name, flags := range shims {
		t.Run(name, func(t *testing.T) { testSharePIDs(t, newEnv(t, flags...)) })
	}
}

func testSharePIDs(t *testing.T, e *env) {
	t.Helper()
	stay, left := fmt.Sprintf("sleep 71%d", e.agent.Process.Pid), fmt.Sprintf("sleep 72%d", e.agent.Process.Pid) // of nobody else
	yes := true
	e.run(e.sh("a", "/bin/busybox "+stay+" & while :; do kill -TERM 1; kill -INT 1; ps -o pid,args | grep -c '[/]bin/busybox sh -c' ; /bin/busybox sleep 1; done", func(p *miniv1.MiniPod) {
		p.Spec.ShareProcessNamespace = &yes
		p.Spec.Containers = append(p.Spec.Containers, *p.Spec.Containers[0].DeepCopy())
		// What is being started in it when it ends keeps nothing from ending.
		p.Spec.Containers[0].ReadinessProbe = &miniv1.Probe{PeriodMilliseconds: 100, Exec: &miniv1.ExecAction{Command: []string{"/bin/busybox", "sh", "-c", "/bin/busybox ps | /bin/busybox grep x"}}}
		second := &p.Spec.Containers[1]
		second.Name = "second"
		second.Command = []string{"/bin/busybox", "sh", "-c", "(/bin/busybox setsid /bin/busybox " + left + " >/dev/null 2>&1 &); /bin/busybox sleep 2; exit 3"}
	}))
	pod := e.shows("a", "Running", "CrashLoopBackOff", "Error")
	e.until("the first sees the second", func() bool {
		return strings.Contains(e.logOfContainer(pod, "main", 0), " F 2\n")
	})
	e.until("the second was started again", func() bool { return e.get("a").Status.Restarts >= 1 })
	e.until("what its first run left is ended", func() bool { return countOf("/bin/busybox "+left) <= 1 })
	e.kill()
	e.start()
	e.until("the second ended again, and all that it left", func() bool {
		now := e.get("a")
		for _, s := range now.Status.ContainerStatuses {
			if s.Name == "second" && s.RestartCount >= 2 && s.State.Waiting != nil {
				return countOf("/bin/busybox "+left) == 0
			}
		}
		return false
	})
	for _, s := range e.get("a").Status.ContainerStatuses {
		if s.Name == "main" && (s.RestartCount != 0 || s.State.Running == nil) {
			t.Errorf("the first: %+v", s)
		}
	}
	if countOf("/bin/busybox "+stay) != 1 {
		t.Errorf("%d of the first's own processes", countOf("/bin/busybox "+stay))
	}
	e.delete("a")
	e.gone("a")
	if n := countOf("/bin/busybox "+stay) + countOf("/bin/busybox "+left); n != 0 {
		t.Errorf("%d processes are left", n)
	}
	e.clean()
}

// TestHostNetwork: a MiniPod in the node's network has the node's address, name and files, and is reached there, before and after an agent that is
// killed; beside it another one has an address of its own. When it goes, nothing of the node's does.
func TestHostNetwork(t *testing.T) {
	for name, flags := range shims {
		t.Run(name, func(t *testing.T) { testHostNetwork(t, newEnv(t, append(flags, "--cluster-dns=10.96.0.10")...)) })
	}
}

func testHostNetwork(t *testing.T, e *env) {
	t.Helper()
	links := func() string { return e.ns.Run("ip", "-o", "addr") + e.ns.Run("ip", "route") }
	before := links()
	machine, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	e.run(e.sh("a", `hostname; cat /etc/hostname; echo "$HOSTNAME $IP"; cat /etc/hosts; echo over; while :; do echo served | nc -l -p 8099; done`, func(p *miniv1.MiniPod) {
		p.Spec.HostNetwork = true
		p.Spec.HostAliases = []miniv1.HostAlias{{IP: "10.1.2.3", Hostnames: []string{"foo"}}}
		p.Spec.Containers[0].Ports = []miniv1.ContainerPort{{ContainerPort: 8099}}
		p.Spec.Containers[0].Env = []miniv1.EnvVar{{Name: "IP", ValueFrom: &miniv1.EnvVarSource{FieldRef: &miniv1.ObjectFieldSelector{FieldPath: "status.podIP"}}}}
		p.Spec.Containers[0].ReadinessProbe = &miniv1.Probe{FailureThreshold: 100, TCPSocket: &miniv1.TCPSocketAction{Port: intstr.FromInt32(8099)}}
	}))
	e.shows("a", "Running")
	e.until("it is ready", func() bool { return e.isReady("a") })
	pod := e.get("a")
	if pod.Status.PodIP != nodeIP || pod.Status.HostIP != nodeIP {
		t.Errorf("addresses: %+v", pod.Status)
	}
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%s\n%s\n%s %s\n# Written by miniplane (host network).\n%s\n# Entries added by HostAliases.\n10.1.2.3\tfoo\nover\n", machine, machine, machine, nodeIP, hosts)
	e.until("it has said it", func() bool { return strings.HasSuffix(e.logOf(pod), " F over\n") })
	if said := plain(e.logOf(pod)); said != want {
		t.Errorf("it says\n%s\nand should\n%s", said, want)
	}
	e.run(e.sh("b", "exec sleep 1000000"))
	other := e.shows("b", "Running")
	serves := func() {
		t.Helper()
		e.until("it serves at the node's address", func() bool {
			var said string
			e.ns.Do(func() {
				conn, err := net.DialTimeout("tcp", nodeIP+":8099", time.Second)
				if err != nil {
					return
				}
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(time.Second))
				said, _ = bufio.NewReader(conn).ReadString('\n')
			})
			return said == "served\n"
		})
	}
	serves()
	e.kill()
	e.start()
	e.until("the agent is ready", func() bool {
		out, err := e.ns.Try("curl", "-sf", "http://127.0.0.1:10350/readyz")
		return err == nil && out != ""
	})
	serves()
	e.until("an agent has looked at it again", func() bool { return strings.Count(e.wholeLog(), "Ready") >= 2 })
	if now := e.get("a"); now.Status.PodIP != nodeIP || now.Status.Restarts != 0 || now.Status.ContainerStatuses[0].ContainerID != pod.Status.ContainerStatuses[0].ContainerID {
		t.Errorf("after another agent: %+v", now.Status)
	}
	if now := e.get("b"); now.Status.PodIP != other.Status.PodIP || now.Status.PodIP == nodeIP {
		t.Errorf("the other one: %+v, was %s", now.Status, other.Status.PodIP)
	}
	for _, name := range []string{"b", "a"} {
		e.delete(name)
		e.gone(name)
	}
	if now := links(); now != before {
		t.Errorf("of the node's network this is so now:\n%s\nbefore:\n%s", now, before)
	}
	e.clean()
}

// TestHostPIDAndIPC: a MiniPod sees the node's processes, and ends with all of its own and no other; and the node's /dev/shm.
func TestHostPIDAndIPC(t *testing.T) {
	for name, flags := range shims {
		t.Run(name, func(t *testing.T) { testHostPIDAndIPC(t, newEnv(t, flags...)) })
	}
}

func testHostPIDAndIPC(t *testing.T, e *env) {
	t.Helper()
	file, err := os.CreateTemp("/dev/shm", "miniplane-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close(); _ = os.Remove(file.Name()) })
	if _, err := file.WriteString("of the node\n"); err != nil {
		t.Fatal(err)
	}
	left := fmt.Sprintf("/bin/busybox sleep 73%d", e.agent.Process.Pid)
	script := fmt.Sprintf(`[ -e /proc/%d/stat ] && echo sees the agent; cat %s; (/bin/busybox setsid %s >/dev/null 2>&1 &); exec /bin/busybox sleep 1000000`,
		e.agent.Process.Pid, filepath.Join("/dev/shm", filepath.Base(file.Name())), left)
	e.run(e.sh("a", script, func(p *miniv1.MiniPod) {
		p.Spec.HostPID, p.Spec.HostIPC, p.Spec.RestartPolicy = true, true, corev1.RestartPolicyAlways
	}))
	pod := e.shows("a", "Running")
	e.until("it sees the node", func() bool { return plain(e.logOf(pod)) == "sees the agent\nof the node\n" })
	e.until("it has a second process", func() bool { return countOf(left) == 1 })
	// Its first process is killed, by somebody on the node: the second goes with it, and both come again.
	first, _ := exec.Command("pgrep", "-fx", "/bin/busybox sleep 1000000").Output()
	for pid := range strings.FieldsSeq(string(first)) {
		if groups, _ := os.ReadFile("/proc/" + pid + "/cgroup"); strings.Contains(string(groups), string(pod.UID)) {
			_ = exec.Command("kill", "-KILL", pid).Run()
		}
	}
	e.until("it was started again, with one second process", func() bool {
		return e.get("a").Status.Restarts == 1 && e.get("a").Status.Summary == "Running" && countOf(left) == 1
	})
	e.delete("a")
	e.gone("a")
	if n := countOf(left); n != 0 {
		t.Errorf("%d processes are left", n)
	}
	if e.agent.ProcessState != nil {
		t.Error("the agent was ended")
	}
	e.clean()
}
