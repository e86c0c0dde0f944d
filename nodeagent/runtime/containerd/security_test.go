package containerd_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/test/containerdenv"
)

// look shows, from the inside of a container, everything that its Security decides.
const look = `id; grep -E '^(CapEff|CapPrm|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status;
touch /file 2>/dev/null && echo root is writable || echo root is read-only;
touch /tmp/file 2>/dev/null && echo tmp is writable || echo tmp is read-only;
grep -q ' /sys sysfs rw' /proc/mounts && echo sys is writable || echo sys is read-only;
busybox unshare -U true 2>/dev/null && echo namespaces are allowed || echo namespaces are refused;
busybox chroot / true 2>/dev/null && echo chroot is allowed || echo chroot is refused;
echo devices $(ls /dev | wc -l); echo done; sleep 1000`

// inside runs look with a Security and returns what it saw.
func (n *node) inside(t *testing.T, id, image string, security runtime.Security) string {
	t.Helper()
	// runc keeps containers by ID for the whole machine, where other tests may use the same words.
	spec := n.start(t, n.runtime(t), id+"-"+filepath.Base(n.Dir), look, func(s *runtime.ContainerSpec) { s.Image, s.Security = image, security })
	return strings.ReplaceAll(output(t, spec, "F done"), "\t", " ")
}

// TestSecurity: what a container may is what the kernel says of its process.
func TestSecurity(t *testing.T) {
	n := newNode(t)
	n.ImportImage(t, "docker.io/library/plain:test", containerdenv.Busybox(t, v1.Config{User: "plain"}))
	user, group := uint32(1234), uint32(77)
	for _, test := range []struct {
		id, image string
		security  runtime.Security
		want      []string
	}{
		{"default", busybox, runtime.Security{}, []string{
			"uid=0(root) gid=0(root) groups=0(root)", "CapEff: 00000000a80425fb", "CapBnd: 00000000a80425fb", "NoNewPrivs: 0", "Seccomp: 2",
			"root is writable", "sys is read-only", "namespaces are refused", "chroot is allowed"}},
		{"restricted", busybox, runtime.Security{User: &user, Group: &group, Groups: []uint32{5, 6}, NonRoot: true,
			DropCapabilities: []string{"ALL"}, NoNewPrivileges: true, ReadOnlyRoot: true}, []string{
			"uid=1234 gid=77 groups=5,6,77", "CapEff: 0000000000000000", "CapPrm: 0000000000000000", "CapBnd: 0000000000000000",
			"NoNewPrivs: 1", "Seccomp: 2", "root is read-only", "tmp is read-only", "namespaces are refused", "chroot is refused"}},
		{"named", "plain:test", runtime.Security{NonRoot: true}, []string{"uid=1000(plain) gid=1000(plain) groups=1000(plain),2000(extra)",
			"CapEff: 0000000000000000", "CapBnd: 00000000a80425fb"}},
		{"strict", "plain:test", runtime.Security{OnlyGroups: true, Groups: []uint32{9}}, []string{"uid=1000(plain) gid=1000(plain) groups=9,1000(plain)"}},
		{"one-capability", busybox, runtime.Security{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"NET_BIND_SERVICE"}}, []string{
			"CapEff: 0000000000000400", "CapBnd: 0000000000000400", "Seccomp: 2"}},
		{"more", busybox, runtime.Security{AddCapabilities: []string{"SYS_ADMIN"}, DropCapabilities: []string{"MKNOD"}}, []string{
			"CapEff: 00000000a02425fb", "namespaces are allowed"}},
		{"unconfined", busybox, runtime.Security{NoSeccomp: true}, []string{"Seccomp: 0", "CapEff: 00000000a80425fb", "namespaces are allowed"}},
		{"privileged", busybox, runtime.Security{Privileged: true, DropCapabilities: []string{"ALL"}}, []string{
			"CapEff: " + containerdCapabilities(t), "Seccomp: 0", "sys is writable", "namespaces are allowed"}},
	} {
		t.Run(test.id, func(t *testing.T) {
			text := n.inside(t, test.id, test.image, test.security)
			for _, want := range test.want {
				if !strings.Contains(text, want) {
					t.Errorf("lacks %q", want)
				}
			}
			var devices int
			_, _ = fmt.Sscanf(regexp.MustCompile(`devices \d+`).FindString(text), "devices %d", &devices)
			if own := 20; (devices > own) != (test.id == "privileged" && machineDevices(t) > own) {
				t.Errorf("%d devices", devices)
			}
			if t.Failed() {
				t.Log(text)
			}
		})
	}
}

// containerdCapabilities is what the kernel shows for a container that has all of containerd's, which are the test's.
func containerdCapabilities(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	must(t, err)
	return string(regexp.MustCompile(`CapEff:\t([0-9a-f]{16})`).FindSubmatch(text)[1])
}

func machineDevices(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/dev")
	must(t, err)
	return len(entries)
}

// TestLackingCapability: what the machine does not have is refused, and not left out.
func TestLackingCapability(t *testing.T) {
	n := newNode(t)
	if strings.HasSuffix(containerdCapabilities(t), "1ffffffffff") {
		t.Skip("this machine has every capability")
	}
	spec := runtime.ContainerSpec{ID: "lacking", Group: "lacking", Image: busybox, Command: shell("true")}
	spec.Security.AddCapabilities = []string{"SYS_RESOURCE", "SYS_BOOT", "SYS_MODULE", "MAC_ADMIN", "BLOCK_SUSPEND"}
	if err := n.runtime(t).Create(t.Context(), spec); !errors.Is(err, runtime.ErrSettings) {
		t.Errorf("created with capabilities that the machine lacks: %v", err)
	}
}
