package containerd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

// Whatever an image's files say, a number stays the number that was asked for, and a name is who the files say it is.
func FuzzAccounts(f *testing.F) {
	f.Add("root:x:0:0::/:/bin/sh\nweb:x:33:34::/:/bin/sh\n", "root:x:0:\nweb:x:34:web\nlogs:x:5:web,root\n", "web:logs")
	f.Add("a:b:c:d", "a::", "a")
	f.Add("", "::::", ":")
	f.Add(":::\n", "x:y:4294967296:,", "2147483648")
	f.Fuzz(func(t *testing.T, passwd, group, wanted string) {
		root := t.TempDir()
		if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"passwd": passwd, "group": group} {
			if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		known, err := readAccounts(root)
		if err != nil {
			if len(passwd) <= maxAccounts && len(group) <= maxAccounts {
				t.Fatal(err)
			}
			return
		}
		user, err := resolveUser(wanted, known)
		if err != nil {
			return
		}
		name, _, _ := strings.Cut(wanted, ":")
		if id, err := strconv.ParseUint(name, 10, 31); err == nil && user.UID != uint32(id) {
			t.Errorf("%q became %d", wanted, user.UID)
		}
		if _, err := strconv.ParseUint(name, 10, 31); err != nil && name != "" && find(known.users, 0, name) == nil {
			t.Errorf("%q became %d, which nothing says", wanted, user.UID)
		}
		if len(user.AdditionalGids) == 0 || user.AdditionalGids[0] != user.GID {
			t.Errorf("groups %v of %d", user.AdditionalGids, user.GID)
		}
	})
}

// Whatever a MiniPod and an image say together, each variable and each place is said once, and what was said last holds.
func FuzzSpec(f *testing.F) {
	f.Add([]byte(`{"Command":["x"],"Env":["A=1","PATH=/x"],"Mounts":[{"HostPath":"/h","ContainerPath":"/data"}]}`), []byte(`{"Env":["A=0","B=2"],"Cmd":["y"]}`))
	f.Add([]byte(`{"Env":["FOO=1","HOSTNAME=x"]}`), []byte(`{}`))
	f.Add([]byte(`{"Env":["=","",  "PATH"],"WorkingDir":"../.."}`), []byte(`{"WorkingDir":"a/../..","Entrypoint":[""]}`))
	f.Fuzz(func(t *testing.T, container, image []byte) {
		var spec runtime.ContainerSpec
		var config ocispec.ImageConfig
		if json.Unmarshal(container, &spec) != nil || json.Unmarshal(image, &config) != nil {
			return
		}
		spec.Security.Privileged = false
		got := ociSpec(spec, &imageFacts{config: config}, rights{}, -998)
		last := map[string]string{}
		for _, entry := range append(append([]string{}, config.Env...), spec.Env...) {
			name, _, _ := strings.Cut(entry, "=")
			last[name] = entry
		}
		said := map[string]string{}
		for _, entry := range got.Process.Env {
			name, _, _ := strings.Cut(entry, "=")
			if _, twice := said[name]; twice {
				t.Errorf("%q is said twice in %q", name, got.Process.Env)
			}
			said[name] = entry
		}
		for name, entry := range last {
			if said[name] != entry {
				t.Errorf("%q is %q, not %q", name, said[name], entry)
			}
		}
		places := map[string]bool{}
		for _, m := range got.Mounts {
			if places[m.Destination] {
				t.Errorf("%s is mounted twice", m.Destination)
			}
			places[m.Destination] = true
		}
		if !strings.HasPrefix(got.Process.Cwd, "/") || strings.Contains(got.Process.Cwd, "..") && !strings.Contains(spec.WorkingDir+config.WorkingDir, "...") {
			t.Errorf("works in %q", got.Process.Cwd)
		}
		if len(got.Linux.MaskedPaths) == 0 || len(got.Linux.ReadonlyPaths) == 0 {
			t.Error("the machine is open")
		}
	})
}

// How a container ended is read as it was written, and nothing else is taken for it.
func FuzzExit(f *testing.F) {
	f.Add("137 5000000006 7000000008 true")
	f.Add("0 0 0 false")
	f.Fuzz(func(t *testing.T, text string) {
		first, ok := parseExit(text)
		if !ok {
			return
		}
		second, ok := parseExit(first.String())
		if diff := cmp.Diff(first, second, cmp.AllowUnexported(exit{}), cmpopts.EquateComparable(first.started)); !ok || diff != "" {
			t.Errorf("%q (-first +second):\n%s", text, diff)
		}
	})
}
