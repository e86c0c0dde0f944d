//go:build linux && cgo

package guard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The test program is its own init: it watches, becomes nobody if asked to, and says so. And it is a command that tells where its threads are.
func TestMain(m *testing.M) {
	if os.Getenv("GUARD_TEST_WHERE") != "" {
		threads, _ := filepath.Glob("/proc/self/task/*/cgroup")
		for _, thread := range threads {
			text, _ := os.ReadFile(thread)
			fmt.Printf("thread\n%s", text)
		}
		os.Exit(0)
	}
	if as := os.Getenv("GUARD_TEST_UID"); as != "" {
		Watch()
		var uid int
		if _, err := fmt.Sscan(as, &uid); err != nil || syscall.Setgid(uid) != nil || syscall.Setuid(uid) != nil {
			os.Exit(3)
		}
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func program(t *testing.T, instructions ...unix.SockFilter) []byte {
	t.Helper()
	var out []byte
	for _, i := range instructions {
		out = binary.NativeEndian.AppendUint16(out, i.Code)
		out = append(out, i.Jt, i.Jf)
		out = binary.NativeEndian.AppendUint32(out, i.K)
	}
	return out
}

func TestInstall(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test needs root, and CI must give it")
		}
		t.Skip("SKIPPED: needs root")
	}
	allow := program(t, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0x7fff0000})
	for _, test := range []struct {
		name, uid string
		filter    []byte
		want      error
	}{
		{"root", "0", allow, nil},
		{"another user", "65534", allow, nil}, // the thread's privilege outlasts the init's
		{"not a filter", "0", program(t, unix.SockFilter{Code: 0xffff}), syscall.EINVAL},
	} {
		t.Run(test.name, func(t *testing.T) {
			g, theirs, err := New()
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), "GUARD_TEST_UID="+test.uid)
			cmd.ExtraFiles = []*os.File{theirs}
			stdin, err1 := cmd.StdinPipe()
			stdout, err2 := cmd.StdoutPipe()
			if err := errors.Join(err1, err2, cmd.Start()); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = stdin.Close(); _ = cmd.Wait() }()
			_ = theirs.Close()
			if _, err := io.ReadFull(stdout, make([]byte, len("ready\n"))); err != nil {
				t.Fatal(err)
			}
			if err := g.Install(cmd.Process.Pid, Filter{Program: test.filter}); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
			if filtered := strings.Contains(string(status), "Seccomp:\t2\n"); filtered != (test.want == nil) {
				t.Errorf("filtered: %t", filtered)
			}
		})
	}
}

// TestNobodyThere: an init that has no guard's thread is not let go.
func TestNobodyThere(t *testing.T) {
	g, theirs, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	_ = theirs.Close()
	if err := g.Install(os.Getpid(), Filter{Program: program(t, unix.SockFilter{Code: unix.BPF_RET})}); err == nil {
		t.Error("no error")
	}
}
