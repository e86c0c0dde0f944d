//go:build linux && cgo

package shim

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/api/types"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/system"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"

	"miniplane.dev/miniplane/test/containerdenv"
)

// small installs cmd/pause as containerd would find it, with the sockets' directory beside it.
func small(t *testing.T) (program, run string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "mps") // sockets have short paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	program, run = filepath.Join(dir, "7", "containerd-shim-miniplane-v1"), filepath.Join(dir, "sockets")
	if err := os.Mkdir(filepath.Dir(program), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(run, filepath.Join(dir, "run")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(containerdenv.PauseBinary(t), program); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(stateRoot(run), 0o700); err != nil {
		t.Fatal(err)
	}
	return program, run
}

func ask(program, id, action string) (string, error) {
	cmd := exec.Command(program, "-namespace", "n", "-address", "/a", "-publish-binary", "/b", "-id", id, action)
	cmd.Dir = filepath.Dir(program)
	out, err := cmd.Output()
	return string(out), err
}

// TestShortAnswers: the server is that of the directory, and the large program is asked where the small one does not know.
func TestShortAnswers(t *testing.T) {
	seven, run := small(t)
	for _, number := range []string{"7", "0", "123"} {
		program := filepath.Join(filepath.Dir(filepath.Dir(seven)), number, filepath.Base(seven))
		if err := os.MkdirAll(filepath.Dir(program), 0o700); err != nil {
			t.Fatal(err)
		}
		if number != "7" {
			if err := os.Symlink(seven, program); err != nil {
				t.Fatal(err)
			}
		}
		if server, err := Server(program); server != number || err != nil {
			t.Errorf("%s: %q, %v", program, server, err)
		}
		if _, err := ask(program, "some", "start"); err == nil {
			t.Fatalf("an answer without a server")
		}
		path := socket(run, number)
		listener, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		if got, err := ask(program, "some", "start"); got != "unix://"+path || err != nil {
			t.Fatalf("%s: %q, %v, want %s", program, got, err, path)
		}
		if kept, err := os.ReadFile(filepath.Join(filepath.Dir(program), "address")); string(kept) != "unix://"+path || err != nil {
			t.Fatalf("%s: kept %q, %v", program, kept, err)
		}
	}
	for _, program := range []string{"/x/containerd-shim-miniplane-v1", "/x/1a/containerd-shim-miniplane-v1", "containerd-shim-miniplane-v1"} {
		if server, err := Server(program); err == nil {
			t.Errorf("%s: server %q", program, server)
		}
	}
	program := seven
	if got, err := ask(program, "gone", "delete"); got != "" || err != nil {
		t.Errorf("delete of what is gone: %q, %v", got, err)
	}
	if err := os.Mkdir(filepath.Join(stateRoot(run), "there"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(program, "there", "delete"); err == nil {
		t.Error("delete of what is there was answered by the small program")
	}
}

// TestInfo: containerd is told what the shim is, and need not ask again.
func TestInfo(t *testing.T) {
	program, _ := small(t)
	out, err := exec.Command(program, "-info").Output()
	if err != nil {
		t.Fatal(err)
	}
	info := &types.RuntimeInfo{}
	if err := proto.Unmarshal(out, info); err != nil {
		t.Fatal(err)
	}
	if want := (&types.RuntimeInfo{Name: "containerd-shim-miniplane-v1"}); !proto.Equal(info, want) {
		t.Errorf("%v, want %v", info, want)
	}
}

func TestRecordedExit(t *testing.T) {
	dir := t.TempDir()
	if got := recordedExit(dir); got.ExitStatus != 137 || got.ExitedAt == nil {
		t.Errorf("nothing recorded: %v", got)
	}
	at := time.Unix(5, 6)
	(&container{dir: dir}).recordExit(seen{code: 3, pid: 77, at: at})
	if got := recordedExit(dir); got.ExitStatus != 3 || got.Pid != 77 || !got.ExitedAt.AsTime().Equal(at) {
		t.Errorf("recorded: %v", got)
	}
}

func TestExitCode(t *testing.T) {
	for status, want := range map[syscall.WaitStatus]int{0: 0, 3 << 8: 3, 9: 137, 15: 143} {
		if got := exitCode(status); got != want {
			t.Errorf("%#x: %d, want %d", status, got, want)
		}
	}
}

func TestSimple(t *testing.T) {
	enough := configs.Seccomp{DefaultAction: configs.Errno}
	for _, name := range needed {
		enough.Syscalls = append(enough.Syscalls, &configs.Syscall{Name: name, Action: configs.Allow})
	}
	change := func(f func(*configs.Seccomp)) *configs.Seccomp {
		out := enough
		out.Syscalls = slices.Clone(out.Syscalls)
		f(&out)
		return &out
	}
	for name, test := range map[string]struct {
		profile *configs.Seccomp
		flags   uint32
		ok      bool
	}{
		"none":      {nil, 0, false},
		"enough":    {&enough, 0, true},
		"flags":     {change(func(s *configs.Seccomp) { s.Flags = []specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_LOG"} }), 2, true},
		"strange":   {change(func(s *configs.Seccomp) { s.Flags = []specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_X"} }), 0, false},
		"no write":  {change(func(s *configs.Seccomp) { s.Syscalls = s.Syscalls[1:] }), 0, false},
		"listener":  {change(func(s *configs.Seccomp) { s.ListenerPath = "/x" }), 0, false},
		"notify":    {change(func(s *configs.Seccomp) { s.Syscalls[0] = &configs.Syscall{Name: "write", Action: configs.Notify} }), 0, false},
		"allow all": {&configs.Seccomp{DefaultAction: configs.Allow}, 0, true},
	} {
		if flags, ok := simple(test.profile); ok != test.ok || ok && flags != test.flags {
			t.Errorf("%s: %d, %t", name, flags, ok)
		}
	}
}

func TestOwnPIDs(t *testing.T) {
	for name, test := range map[string]struct {
		namespaces []specs.LinuxNamespace
		want       bool
	}{
		"own":    {[]specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}}, true},
		"shared": {[]specs.LinuxNamespace{{Type: specs.PIDNamespace, Path: "/x"}}, false},
		"host's": {nil, false},
	} {
		if got := ownPIDs(&specs.Spec{Linux: &specs.Linux{Namespaces: test.namespaces}}); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestLiving: a container's process is dead when that is proven, and what cannot be read proves nothing.
func TestLiving(t *testing.T) {
	self, err := system.Stat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	state := func(pid int, start uint64) string {
		text, err := json.Marshal(libcontainer.BaseState{InitProcessPid: pid, InitProcessStartTime: start})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, test := range []struct {
		what          string
		server        string            // this program where it is empty
		files         map[string]string // a directory where the text is empty
		lives, unsure bool
	}{
		{what: "nothing"},
		{what: "it runs", files: map[string]string{"state.json": state(os.Getpid(), self.StartTime)}, lives: true},
		{what: "it was not let go", files: map[string]string{"state.json": state(os.Getpid(), self.StartTime), "exec.fifo": "x"}},
		{what: "it was let go just before its server ended", server: "shim_test.go", files: map[string]string{"state.json": state(os.Getpid(), self.StartTime), "exec.fifo": "x"}, lives: true},
		{what: "nobody says whether it was let go", server: "/no/such/program", files: map[string]string{"state.json": state(os.Getpid(), self.StartTime), "exec.fifo": "x"}, unsure: true},
		{what: "another has its PID", files: map[string]string{"state.json": state(os.Getpid(), self.StartTime+1)}},
		{what: "there is no such process", files: map[string]string{"state.json": state(1<<22+1, 1)}},
		{what: "its state cannot be read", files: map[string]string{"state.json": ""}, unsure: true},
		{what: "its state says nothing", files: map[string]string{"state.json": "{"}, unsure: true},
	} {
		dir := t.TempDir()
		for name, text := range test.files {
			path := filepath.Join(dir, name)
			err := os.Mkdir(path, 0o700)
			if text != "" {
				err = errors.Join(os.Remove(path), os.WriteFile(path, []byte(text), 0o600))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if test.server == "" {
			test.server = "/proc/self/exe"
		}
		pid, lives, err := living(dir, test.server)
		if lives != test.lives || (err != nil) != test.unsure || lives && pid != os.Getpid() {
			t.Errorf("%s: process %d, lives %t, %v", test.what, pid, lives, err)
		}
	}
}

// TestForget: a directory goes as a whole, also where an earlier try was broken off.
func TestForget(t *testing.T) {
	root := t.TempDir()
	for range 2 {
		for _, dir := range []string{"c", ".c"} {
			if err := errors.Join(os.MkdirAll(filepath.Join(root, dir, "sub"), 0o700), os.WriteFile(filepath.Join(root, dir, "state.json"), nil, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // the second time there is nothing
			if err := forget(filepath.Join(root, "c")); err != nil {
				t.Fatal(err)
			}
			if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		}
	}
}

// TestNoteBundles: the link is to where the bundle lies in whose directory "start" runs, now.
func TestNoteBundles(t *testing.T) {
	run := t.TempDir()
	for _, state := range []string{t.TempDir(), t.TempDir()} {
		bundle := filepath.Join(state, "miniplane", "c")
		if err := os.MkdirAll(bundle, 0o700); err != nil {
			t.Fatal(err)
		}
		t.Chdir(bundle)
		for range 2 {
			if err := noteBundles(run); err != nil {
				t.Fatal(err)
			}
			if got, err := os.Readlink(filepath.Join(run, "bundles")); err != nil || got != filepath.Dir(bundle) {
				t.Errorf("%s, %v, want %s", got, err, filepath.Dir(bundle))
			}
		}
	}
	if left, err := os.ReadDir(run); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}
