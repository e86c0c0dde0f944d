package node

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// TestHostPath: a container has the node's files, as one of the node's own has them; and they stay when it goes, whatever becomes of the agent.
func TestHostPath(t *testing.T) {
	for name, flags := range shims {
		t.Run(name, func(t *testing.T) { testHostPath(t, newEnv(t, flags...)) })
	}
}

func testHostPath(t *testing.T, e *env) {
	t.Helper()
	node := filepath.Join(e.dir, "node")
	for path, text := range map[string]string{"data/precious": "of the node", "data/deep/file": "deep"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(node, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(node, path), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "mount", "--bind", node, node)
	run(t, "mount", "--make-shared", node)
	t.Cleanup(func() { run(t, "umount", "-R", node) })
	group, privileged := int64(2000), true
	host := func(name, path string, kind corev1.HostPathType) miniv1.Volume {
		return miniv1.Volume{Name: name, HostPath: &miniv1.HostPathVolumeSource{Path: path, Type: &kind}}
	}
	both, in, all := corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.RecursiveReadOnlyEnabled
	script := `echo $(cat /data/precious) $(cat /deep/file) $(stat -c %a:%g /data/precious); echo new >/data/new; touch /file; echo x 2>/dev/null >/read/x || echo cannot write
echo x 2>/dev/null >/recursive/disk/x || echo cannot write there either; mkdir /data/mine && mount -t tmpfs mine /data/mine && echo mounted
while ! [ -e /in/later/it ]; do sleep 0.1; done; echo seen; [ -e /data/later/it ] || echo ONLY THERE; sleep 1000`
	if err := os.MkdirAll(filepath.Join(node, "ro", "disk"), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "mount", "-t", "tmpfs", "disk", filepath.Join(node, "ro", "disk"))
	e.run(e.sh("a", script, func(p *miniv1.MiniPod) {
		p.Spec.SecurityContext = &miniv1.PodSecurityContext{FSGroup: &group}
		p.Spec.Volumes = []miniv1.Volume{host("data", filepath.Join(node, "data"), corev1.HostPathDirectory), host("made", filepath.Join(node, "made", "it"), corev1.HostPathDirectoryOrCreate),
			host("file", filepath.Join(node, "file"), corev1.HostPathFileOrCreate), host("ro", filepath.Join(node, "ro"), ""), host("null", "/dev/null", corev1.HostPathCharDev)}
		p.Spec.Containers[0].SecurityContext = &miniv1.SecurityContext{Privileged: &privileged}
		p.Spec.Containers[0].VolumeMounts = []miniv1.VolumeMount{{Name: "data", MountPath: "/data", MountPropagation: &both},
			{Name: "data", MountPath: "/in", MountPropagation: &in}, {Name: "data", MountPath: "/deep", SubPath: "deep"}, {Name: "made", MountPath: "/made"},
			{Name: "file", MountPath: "/file"}, {Name: "ro", MountPath: "/read", ReadOnly: true}, {Name: "null", MountPath: "/null"},
			{Name: "ro", MountPath: "/recursive", ReadOnly: true, RecursiveReadOnly: &all}}
	}))
	pod := e.shows("a", "Running")
	if told := pod.Status.ContainerStatuses[0].VolumeMounts; len(told) != 1 || told[0].MountPath != "/recursive" || !told[0].ReadOnly || *told[0].RecursiveReadOnly != all {
		t.Errorf("of its mounts the status says %+v", told)
	}
	said := func(text string) {
		t.Helper()
		e.until("it says: "+text, func() bool { return strings.Contains(e.logOf(pod), text+"\n") })
	}
	for _, text := range []string{"of the node deep 640:0", "cannot write", "cannot write there either", "mounted"} {
		said(text)
	}
	e.kill()
	e.start()
	if err := os.Mkdir(filepath.Join(node, "data", "later"), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "mount", "-t", "tmpfs", "later", filepath.Join(node, "data", "later"))
	if err := os.WriteFile(filepath.Join(node, "data", "later", "it"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	said("seen")
	if strings.Contains(e.logOf(pod), "ONLY THERE") {
		t.Error("what is mounted on the node is not seen with Bidirectional")
	}
	e.delete("a")
	e.gone("a")
	e.clean()
	if text, _ := os.ReadFile("/proc/self/mountinfo"); !strings.Contains(string(text), filepath.Join(node, "data", "mine")) {
		t.Error("what the container mounted is not on the node")
	}
	for path, want := range map[string]os.FileMode{"data/precious": 0o640, "data/new": 0o644, "made/it": os.ModeDir | 0o755, "file": 0o644, "data": os.ModeDir | 0o755} {
		if info, err := os.Stat(filepath.Join(node, path)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}

// TestHostAttack: a container makes a link of what another mount of it takes a path of; and asks for what is not there, which is waited for.
func TestHostAttack(t *testing.T) {
	e := newEnv(t)
	node, outside := filepath.Join(e.dir, "node"), filepath.Join(e.dir, "outside")
	for _, dir := range []string{node, outside} {
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(outside, "precious"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	kind := corev1.HostPathSocket
	e.run(e.sh("a", `ls /sub/precious 2>/dev/null && echo GOT OUT; rm -rf /v/sub; ln -s `+outside+` /v/sub; exit 1`, func(p *miniv1.MiniPod) {
		p.Spec.Volumes = []miniv1.Volume{{Name: "v", HostPath: &miniv1.HostPathVolumeSource{Path: node}}}
		p.Spec.Containers[0].VolumeMounts = []miniv1.VolumeMount{{Name: "v", MountPath: "/v"}, {Name: "v", MountPath: "/sub", SubPath: "sub"}}
	}))
	e.run(e.sh("waits", "sleep 1000", func(p *miniv1.MiniPod) {
		p.Spec.Volumes = []miniv1.Volume{{Name: "v", HostPath: &miniv1.HostPathVolumeSource{Path: filepath.Join(node, "socket"), Type: &kind}}}
		p.Spec.Containers[0].VolumeMounts = []miniv1.VolumeMount{{Name: "v", MountPath: "/v"}}
	}))
	waits := func(name, reason, message string) {
		t.Helper()
		e.until(name+" waits: "+message, func() bool {
			now := e.get(name).Status.ContainerStatuses
			return len(now) > 0 && now[0].State.Waiting != nil && now[0].State.Waiting.Reason == reason && strings.Contains(now[0].State.Waiting.Message, message)
		})
	}
	waits("a", miniv1.ReasonCreateContainerConfig, `subPath "sub": it leads out of the volume`)
	waits("waits", miniv1.ReasonContainerCreating, "hostPath type check failed: "+filepath.Join(node, "socket")+": it is not there")
	if strings.Contains(e.logOf(e.get("a")), "GOT OUT") {
		t.Error(e.logOf(e.get("a")))
	}
	for _, name := range []string{"a", "waits"} {
		e.delete(name)
		e.gone(name)
	}
	e.clean()
	for dir, want := range map[string]int{node: 1, outside: 1} {
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != want {
			t.Errorf("%s has %v, %v", dir, entries, err)
		}
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Errorf("%s %v: %v\n%s", name, args, err, out)
	}
}

// TestPlaces: where no volume can be, that is said; and where a native Pod can have one, a MiniPod can.
func TestPlaces(t *testing.T) {
	for name, flags := range shims {
		t.Run(name, func(t *testing.T) { testPlaces(t, newEnv(t, flags...)) })
	}
}

func testPlaces(t *testing.T, e *env) {
	t.Helper()
	places := map[string]string{"root": "/", "proc": "/proc", "pid": "/proc/1", "hostproc": "/proc", "sys": "/sys", "dev": "/dev", "below-dev": "/dev/below", "below-sys": "/sys/kernel", "meminfo": "/proc/meminfo"}
	waits := map[string]string{"root": "the root of the container's file system", "proc": "/proc is the kernel's", "pid": "/proc is the kernel's"}
	for name, place := range places {
		e.run(e.sh(name, "sleep 1000", func(p *miniv1.MiniPod) {
			p.Spec.Volumes = []miniv1.Volume{{Name: "v", EmptyDir: &miniv1.EmptyDirVolumeSource{}}}
			switch name {
			case "meminfo":
				p.Spec.Volumes[0] = miniv1.Volume{Name: "v", HostPath: &miniv1.HostPathVolumeSource{Path: "/proc/meminfo"}}
			case "hostproc", "dev":
				p.Spec.Volumes[0] = miniv1.Volume{Name: "v", HostPath: &miniv1.HostPathVolumeSource{Path: place}}
			}
			p.Spec.Containers[0].VolumeMounts = []miniv1.VolumeMount{{Name: "v", MountPath: place}}
		}))
	}
	for name := range places {
		e.until(name, func() bool {
			now := e.get(name).Status.ContainerStatuses
			if len(now) == 0 {
				return false
			}
			if want := waits[name]; want != "" {
				return now[0].State.Waiting != nil && now[0].State.Waiting.Reason == miniv1.ReasonCreateContainerConfig && strings.Contains(now[0].State.Waiting.Message, want)
			}
			if now[0].State.Waiting != nil && strings.HasSuffix(now[0].State.Waiting.Reason, "Error") {
				t.Fatalf("%s: %+v", name, now[0].State.Waiting)
			}
			return now[0].State.Running != nil
		})
	}
	for name := range places {
		e.delete(name)
		e.gone(name)
	}
	e.clean()
}
