//go:build linux && cgo

package shim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	goruntime "runtime"
	"slices"
	"sync"
	"syscall"
	"unsafe"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/seccomp"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/runtime/containerd/shim/compiled"
	"miniplane.dev/miniplane/nodeagent/runtime/containerd/shim/guard"
)

// filters are compiled seccomp profiles. There is one for nearly all containers.
//
// They are compiled by the one who knows how, libcontainer: a process of ours sets the filter for itself and stops, and the
// kernel shows the filter to its tracer. Where that is not possible (the server is filtered itself, or the kernel cannot),
// libcontainer compiles in each init, as runc does.
type filters struct {
	mu       sync.Mutex
	compiled map[string]*filter // nil for one that cannot be had
}

// filter is a compiled profile: as an init is given it by its guard, and as commands are.
type filter struct {
	guard.Filter
	// command is what a command's libcontainer would have libseccomp make (see package compiled).
	command *os.File
}

// given is what commands in a container with this filter are given; nothing where there is none.
func (f *filter) given() []*os.File {
	if f == nil {
		return nil
	}
	return []*os.File{f.command}
}

// get compiles a profile, or remembers it. Nil if the profile must be left to libcontainer.
func (f *filters) get(profile *configs.Seccomp) *filter {
	flags, ok := simple(profile)
	if !ok {
		return nil
	}
	text := mustJSON(profile)
	f.mu.Lock()
	defer f.mu.Unlock()
	if made, known := f.compiled[string(text)]; known {
		return made
	}
	made, err := compile(text, flags)
	if err != nil {
		fmt.Fprintln(os.Stderr, "seccomp profiles are compiled for each container:", err)
	}
	if f.compiled == nil {
		f.compiled = map[string]*filter{}
	}
	f.compiled[string(text)] = made
	return made
}

// needed are the calls that the guard's thread makes under the filter.
var needed = []string{"write", "exit", "futex", "madvise", "munmap", "rt_sigprocmask"}

// simple tells whether a profile can be set by a guard, and with which flags of seccomp(2).
func simple(profile *configs.Seccomp) (flags uint32, ok bool) {
	if profile == nil || profile.ListenerPath != "" || profile.DefaultAction == configs.Notify {
		return 0, false
	}
	for _, flag := range profile.Flags {
		switch flag {
		case "SECCOMP_FILTER_FLAG_TSYNC":
		case "SECCOMP_FILTER_FLAG_LOG":
			flags |= unix.SECCOMP_FILTER_FLAG_LOG
		case "SECCOMP_FILTER_FLAG_SPEC_ALLOW":
			flags |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		default:
			return 0, false
		}
	}
	missing := slices.Clone(needed)
	for _, call := range profile.Syscalls {
		if call.Action == configs.Notify {
			return 0, false
		}
		if call.Action == configs.Allow && len(call.Args) == 0 {
			missing = slices.DeleteFunc(missing, func(name string) bool { return name == call.Name })
		}
	}
	return flags, profile.DefaultAction == configs.Allow || len(missing) == 0
}

// ShowFilter sets the filter of the profile that it reads, in JSON, and stops, for compile to look at it.
func ShowFilter(from io.Reader) error {
	profile := &configs.Seccomp{}
	if err := json.NewDecoder(from).Decode(profile); err != nil {
		return err
	}
	compiled.Record(os.Stdout)
	if _, err := seccomp.InitSeccomp(profile); err != nil {
		return err
	}
	return syscall.Kill(syscall.Getpid(), syscall.SIGSTOP)
}

func compile(profile []byte, flags uint32) (*filter, error) {
	exported, export, err := os.Pipe() // it holds more than the longest program
	if err != nil {
		return nil, err
	}
	defer exported.Close()
	program, err := show(profile, export)
	_ = export.Close()
	if err != nil {
		return nil, err
	}
	command, err := io.ReadAll(exported)
	if err != nil {
		return nil, err
	}
	file, err := compiled.File(command)
	if err != nil {
		return nil, err
	}
	return &filter{guard.Filter{Flags: flags, Program: program}, file}, nil
}

// show has a process compile a profile, export it, and set the filter for itself, and reads what the kernel has then.
func show(profile []byte, export *os.File) ([]byte, error) {
	done := make(chan error, 1)
	var program []byte
	go func() {
		goruntime.LockOSThread() // a tracer is a thread
		defer goruntime.UnlockOSThread()
		cmd := exec.Command("/proc/self/exe", "filter")
		cmd.Args[0] = os.Args[0]
		input, output, err := os.Pipe()
		if err != nil {
			done <- err
			return
		}
		defer input.Close()
		go func() { _, _ = output.Write(profile); _ = output.Close() }()
		cmd.Stdin, cmd.Stdout, cmd.Stderr = input, export, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			done <- err
			return
		}
		program, err = look(cmd.Process.Pid)
		_ = cmd.Process.Kill()
		_, _ = syscall.Wait4(cmd.Process.Pid, nil, 0, nil)
		_ = cmd.Process.Release()
		done <- err
	}()
	return program, <-done
}

// look waits until a traced process stops itself, and reads its filter.
func look(pid int) ([]byte, error) {
	for {
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
			return nil, err
		}
		switch {
		case !status.Stopped():
			return nil, fmt.Errorf("the process that compiles ended with %d", status)
		case status.StopSignal() == syscall.SIGSTOP:
			return readFilter(pid)
		}
		signal := status.StopSignal()
		if signal == syscall.SIGTRAP {
			signal = 0
		}
		if err := syscall.PtraceCont(pid, int(signal)); err != nil {
			return nil, err
		}
	}
}

func readFilter(pid int) ([]byte, error) {
	get := func(to unsafe.Pointer) (int, error) {
		n, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SECCOMP_GET_FILTER, uintptr(pid), 0, uintptr(to), 0, 0)
		if errno != 0 {
			return 0, os.NewSyscallError("ptrace", errno)
		}
		return int(n), nil
	}
	n, err := get(nil)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, errors.New("the filter is empty")
	}
	program := make([]unix.SockFilter, n)
	if n, err = get(unsafe.Pointer(&program[0])); err != nil || n != len(program) {
		return nil, fmt.Errorf("%d instructions of %d: %w", n, len(program), err)
	}
	return bytes.Clone(unsafe.Slice((*byte)(unsafe.Pointer(&program[0])), n*int(unsafe.Sizeof(program[0])))), nil
}
