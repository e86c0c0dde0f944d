//go:build linux && cgo

package shim

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Start makes sure that the server of a container runs, and returns its address, which it also leaves in the bundle (the working
// directory), where containerd before 2.0 finds it again. cmd/pause/shim.c does the same.
func Start(call Call) (string, error) {
	address, err := start(call)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(".address", []byte(address), 0o600); err != nil {
		return "", err
	}
	return address, os.Rename(".address", "address")
}

// start starts the server if it does not run. Callers in parallel wait for each other, and the socket takes connections before
// the server does, so that nobody has to try again.
func start(call Call) (string, error) {
	if err := os.MkdirAll(stateRoot(call.Run), 0o700); err != nil {
		return "", err
	}
	name := call.Server
	path := socket(call.Run, name)
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", err
	}
	address := "unix://" + path
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = conn.Close()
		return address, nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return "", err
	}
	listener.SetUnlinkOnClose(false)
	defer listener.Close()
	if err := noteBundles(call.Run); err != nil {
		return "", err
	}
	if err := spawn(call, name, listener); err != nil {
		_ = os.Remove(path)
		return "", fmt.Errorf("start the server: %w", err)
	}
	return address, nil
}

// noteBundles leaves a link to containerd's directory of bundles, for the agent, which finds there what a server left that was killed.
// The working directory is one of them.
func noteBundles(run string) error {
	bundle, err := os.Getwd()
	if err != nil {
		return err
	}
	path, dir := filepath.Join(run, "bundles"), filepath.Dir(bundle)
	if there, err := os.Readlink(path); err == nil && there == dir {
		return nil
	}
	made := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.Symlink(dir, made); err != nil {
		return err
	}
	return os.Rename(made, path)
}

// spawn starts a server that outlives everybody: in a session of its own, with nothing of the caller's open.
func spawn(call Call, name string, listener *net.UnixListener) error {
	socket, err := listener.File()
	if err != nil {
		return err
	}
	defer socket.Close()
	log, err := os.OpenFile(filepath.Join(call.Run, name+".log"), os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := &exec.Cmd{
		Path: self,
		Args: []string{os.Args[0], "-namespace", call.Namespace, "-id", name, "-address", call.Address, "-ttrpc", call.TTRPC,
			"-run", call.Run, "serve"},
		Dir: "/", Env: []string{"PATH=" + os.Getenv("PATH"), "GOMAXPROCS=2"}, Stdout: log, Stderr: log,
		ExtraFiles: []*os.File{socket}, SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	spare(cmd.Process.Pid)
	return cmd.Process.Release()
}

// spare makes the server a later victim of memory shortage than its containers, and an earlier one than containerd, as
// containerd's own shims are; as far as the kernel lets it.
func spare(pid int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", os.Getppid()))
	if err != nil {
		return
	}
	adj, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return
	}
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(strconv.Itoa(min(adj+1, 1000))), 0o644)
}
