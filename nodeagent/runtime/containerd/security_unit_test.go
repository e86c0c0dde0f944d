package containerd

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

func TestChangeCapabilities(t *testing.T) {
	without := func(names ...string) []string {
		return slices.DeleteFunc(slices.Clone(capabilities), func(c string) bool { return slices.Contains(names, c) })
	}
	there := append(slices.Clone(capabilities), "CAP_NET_ADMIN", "CAP_SYS_ADMIN")
	for _, test := range []struct {
		name      string
		add, drop []string
		want      []string
	}{
		{"nothing", nil, nil, capabilities},
		{"drop one", nil, []string{"NET_RAW"}, without("CAP_NET_RAW")},
		{"drop what is not there", nil, []string{"SYS_TIME"}, capabilities},
		{"drop all", nil, []string{"ALL"}, nil},
		{"drop all but one", []string{"NET_BIND_SERVICE"}, []string{"ALL"}, []string{"CAP_NET_BIND_SERVICE"}},
		{"add one", []string{"NET_ADMIN"}, nil, append(slices.Clone(capabilities), "CAP_NET_ADMIN")},
		{"add what is there", []string{"CHOWN"}, nil, capabilities},
		{"add all", []string{"ALL"}, nil, there},
		{"add all but one", []string{"ALL"}, []string{"SYS_ADMIN"}, there[:len(there)-1]},
		{"add and drop the same", []string{"NET_ADMIN"}, []string{"NET_ADMIN"}, capabilities},
		{"add and drop all", []string{"ALL"}, []string{"ALL"}, nil},
	} {
		got, err := changeCapabilities(test.add, test.drop, there)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, %v, want %v", test.name, got, err, test.want)
		}
	}
	if _, err := changeCapabilities([]string{"SYS_BOOT"}, nil, there); !errors.Is(err, runtime.ErrSettings) || !strings.Contains(err.Error(), "SYS_BOOT") {
		t.Errorf("a capability that the machine lacks: %v", err)
	}
}

func TestUserOf(t *testing.T) {
	known := accounts{
		users:  [][]string{{"root", "x", "0", "0"}, {"web", "x", "33", "34"}, {"toor", "x", "0", "0"}},
		groups: [][]string{{"root", "x", "0", "root"}, {"www", "x", "34", ""}, {"extra", "x", "50", "web,other"}},
	}
	id := func(n uint32) *uint32 { return &n }
	for _, test := range []struct {
		name, image string
		want        runtime.Security
		user        *specs.User // nil: refused
	}{
		{"the image's", "web", runtime.Security{}, &specs.User{UID: 33, GID: 34, AdditionalGids: []uint32{34, 50}}},
		{"given, known to the image", "", runtime.Security{User: id(33)}, &specs.User{UID: 33, GID: 34, AdditionalGids: []uint32{34, 50}}},
		{"given, unknown", "web", runtime.Security{User: id(1234)}, &specs.User{UID: 1234, AdditionalGids: []uint32{0}}},
		{"given over a user that is not in the image", "ghost", runtime.Security{User: id(7)}, &specs.User{UID: 7, AdditionalGids: []uint32{0}}},
		{"with a group", "web", runtime.Security{Group: id(99)}, &specs.User{UID: 33, GID: 99, AdditionalGids: []uint32{99, 50}}},
		{"with more groups", "web", runtime.Security{Groups: []uint32{50, 7, 34, 7}}, &specs.User{UID: 33, GID: 34, AdditionalGids: []uint32{34, 50, 7}}},
		{"with only those groups", "web", runtime.Security{OnlyGroups: true, Groups: []uint32{7}}, &specs.User{UID: 33, GID: 34, AdditionalGids: []uint32{34, 7}}},
		{"not root", "web", runtime.Security{NonRoot: true}, &specs.User{UID: 33, GID: 34, AdditionalGids: []uint32{34, 50}}},
		{"not root, given", "", runtime.Security{NonRoot: true, User: id(33)}, &specs.User{UID: 33, GID: 34, AdditionalGids: []uint32{34, 50}}},
		{"root by the image's silence", "", runtime.Security{NonRoot: true}, nil},
		{"root by name", "root", runtime.Security{NonRoot: true}, nil},
		{"root by another name", "toor", runtime.Security{NonRoot: true}, nil},
		{"root by number", "0:50", runtime.Security{NonRoot: true}, nil},
		{"root, given", "web", runtime.Security{NonRoot: true, User: id(0)}, nil},
	} {
		got, err := userOf(&test.want, &imageFacts{config: ocispec.ImageConfig{User: test.image}, accounts: known})
		if test.user == nil {
			if !errors.Is(err, runtime.ErrSettings) {
				t.Errorf("%s: %+v, %v, want ErrSettings", test.name, got, err)
			}
			continue
		}
		if diff := cmp.Diff(*test.user, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", test.name, err, diff)
		}
	}
}

func TestAccountsOfStrangeImages(t *testing.T) {
	write := func(name string, data []byte) string {
		root := t.TempDir()
		if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
		return root
	}
	fifo := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(fifo, "etc"), 0o755), unix.Mkfifo(filepath.Join(fifo, "etc/passwd"), 0o644)); err != nil {
		t.Fatal(err)
	}
	for name, root := range map[string]string{"a FIFO": fifo, "too large": write("etc/group", make([]byte, maxAccounts+1))} {
		if got, err := readAccounts(root); err == nil {
			t.Errorf("%s was read: %v", name, got)
		}
	}
	got, err := readAccounts(write("etc/passwd", []byte("a:x:1:2::/:/bin/sh\n\nbroken:x\n")))
	if err != nil || len(got.users) != 1 || got.users[0][0] != "a" {
		t.Errorf("%+v, %v", got, err)
	}
}

// Some images have all of /etc, or the files in it, elsewhere, by absolute links.
func TestAccountsBehindLinks(t *testing.T) {
	root := t.TempDir()
	err := errors.Join(os.MkdirAll(filepath.Join(root, "store", "etc"), 0o755), os.Symlink("/store/etc", filepath.Join(root, "etc")),
		os.WriteFile(filepath.Join(root, "store", "etc", "passwd"), []byte("svc:x:1234:1235::/:/bin/sh\n"), 0o644),
		os.Symlink("/../../nowhere", filepath.Join(root, "store", "etc", "group")))
	if err != nil {
		t.Fatal(err)
	}
	known, err := readAccounts(root)
	if err != nil {
		t.Fatal(err)
	}
	if user, err := resolveUser("svc", known); err != nil || user.UID != 1234 || user.GID != 1235 {
		t.Errorf("%+v, %v", user, err)
	}
}

func TestPrivilegedSpec(t *testing.T) {
	device := specs.LinuxDevice{Path: "/dev/x", Type: "c", Major: 1, Minor: 2}
	spec := ociSpec(runtime.ContainerSpec{Security: runtime.Security{Privileged: true}}, &imageFacts{},
		rights{capabilities: []string{"CAP_SYS_ADMIN"}, devices: []specs.LinuxDevice{device}}, 0)
	if spec.Linux.Seccomp != nil || spec.Linux.MaskedPaths != nil || spec.Linux.ReadonlyPaths != nil {
		t.Errorf("seccomp %v, masked %v, read-only %v", spec.Linux.Seccomp, spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths)
	}
	if diff := cmp.Diff([]specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}, spec.Linux.Resources.Devices); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
	for _, m := range spec.Mounts {
		if slices.Contains(m.Options, "ro") {
			t.Errorf("%s is read-only", m.Destination)
		}
	}
	// What one container got, the next must not have.
	plain := ociSpec(runtime.ContainerSpec{}, &imageFacts{}, rights{}, 0)
	for _, m := range plain.Mounts {
		if (m.Type == "sysfs" || m.Type == "cgroup") && !slices.Contains(m.Options, "ro") {
			t.Errorf("%s of a plain container: %v", m.Destination, m.Options)
		}
	}
}
