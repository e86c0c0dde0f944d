//go:build linux && cgo

package shim

import (
	"fmt"
	"os"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/utils"
	"golang.org/x/sys/unix"
)

// openTerminal gives the process a terminal. Its init makes it, inside the container, and sends the other side here.
func (s *streams) openTerminal(to stdio, p *libcontainer.Process) error {
	ours, theirs, err := utils.NewSockPair("console")
	if err != nil {
		return err
	}
	s.child = append(s.child, theirs)
	p.ConsoleSocket = theirs
	s.pump = func() error {
		defer ours.Close()
		if err := s.receive(ours); err != nil {
			return fmt.Errorf("terminal: %w", err)
		}
		if err := s.copyIn(to.stdin, s.console); err != nil {
			return err
		}
		return s.copyOut(to.stdout, s.console)
	}
	return nil
}

// receive takes the terminal that the init sends.
func (s *streams) receive(from *os.File) error {
	if err := unix.SetsockoptTimeval(int(from.Fd()), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(patience / time.Second)}); err != nil {
		return err
	}
	name, control := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(from.Fd()), name, control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return fmt.Errorf("no descriptor was sent: %w", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return fmt.Errorf("no descriptor was sent: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil { // so that closing it ends a read
		return err
	}
	f := os.NewFile(uintptr(fds[0]), "terminal")
	s.keep(f)
	s.mu.Lock()
	s.console = f
	s.mu.Unlock()
	return nil
}

// resize tells the process of its terminal's size.
func (s *streams) resize(width, height uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.console == nil {
		return nil
	}
	raw, err := s.console.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	if err := raw.Control(func(fd uintptr) {
		set = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(width), Row: uint16(height)})
	}); err != nil {
		return err
	}
	return set
}
