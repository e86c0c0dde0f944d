//go:build linux && cgo

package shim

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// logger is the program that owns a container's output. The reading ends are held here too: when the program is killed, the
// container neither gets a SIGPIPE nor loses what is in the pipes, and the program is started again.
type logger struct {
	namespace, id string
	program       *url.URL
	output        []*os.File // reading ends of stdout and stderr
}

// The waits before a program that was killed is started again, doubled while that fails. The container waits too, when its pipe is
// full.
const (
	loggerPause    = 100 * time.Millisecond
	loggerPauseMax = 10 * time.Second
)

// run starts the program, waits until it is ready, and sees to it until it ends by itself, which it does at the output's end.
func (l *logger) run() error {
	cmd, err := l.start()
	if err != nil {
		return err
	}
	go func() {
		defer func() { _ = closeAll(l.output) }()
		for cmd.Wait() != nil {
			if cmd = l.again(); cmd == nil {
				return
			}
		}
	}()
	return nil
}

// again starts the program as soon as that works; nil when there is no output any more, and will not be.
func (l *logger) again() *exec.Cmd {
	for wait := loggerPause; !l.ended(); wait = min(2*wait, loggerPauseMax) {
		<-time.After(wait)
		if cmd, err := l.start(); err == nil {
			return cmd
		}
	}
	return nil
}

// ended tells whether nobody can write any more, and nothing is left to be read.
func (l *logger) ended() bool {
	fds := []unix.PollFd{{Fd: int32(l.output[0].Fd()), Events: unix.POLLIN}, {Fd: int32(l.output[1].Fd()), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds, 0); err != nil {
		return false
	}
	return fds[0].Revents == unix.POLLHUP && fds[1].Revents == unix.POLLHUP
}

func (l *logger) start() (*exec.Cmd, error) {
	ready, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = ready.Close() }()
	cmd := &exec.Cmd{Path: l.program.Path, Args: []string{l.program.Path}, Dir: "/",
		Env:         []string{"CONTAINER_ID=" + l.id, "CONTAINER_NAMESPACE=" + l.namespace},
		ExtraFiles:  append(l.output[:2:2], theirs),
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	for name, values := range l.program.Query() {
		cmd.Args = append(cmd.Args, name)
		if len(values) > 0 {
			cmd.Args = append(cmd.Args, values[0])
		}
	}
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		return nil, fmt.Errorf("start the logger: %w", err)
	}
	if _, err := io.ReadFull(ready, make([]byte, 1)); err != nil {
		return nil, errors.Join(fmt.Errorf("the logger %s ended before it was ready: %w", l.program.Path, err), cmd.Wait())
	}
	return cmd, nil
}

func closeAll(files []*os.File) error {
	var errs []error
	for _, f := range files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
