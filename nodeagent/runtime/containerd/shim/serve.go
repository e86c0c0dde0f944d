//go:build linux && cgo

package shim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	tasks "github.com/containerd/containerd/api/runtime/task/v2"
	"github.com/containerd/ttrpc"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

const (
	// idle is how long a server without containers stays.
	idle = 10 * time.Minute
	// lookAround is how often it looks after itself.
	lookAround = 30 * time.Second
)

// Serve is the server: it serves the socket that it was given as descriptor 3 until nobody needs it, or, without containers,
// until SIGTERM.
func Serve(ctx context.Context, call Call) error {
	if err := listen(); err != nil {
		return err
	}
	// libcontainer warns of each hook that is a function, see view.
	logrus.SetLevel(logrus.ErrorLevel)
	// libcontainer passes it on to inits, which are not busy for long.
	if err := os.Setenv("GOMAXPROCS", "1"); err != nil {
		return err
	}
	file := os.NewFile(3, "socket")
	inherited, err := net.FileListener(file)
	_ = file.Close()
	if err != nil {
		return err
	}
	server, err := ttrpc.NewServer(ttrpc.WithServerHandshaker(ttrpc.UnixSocketRequireSameUser()))
	if err != nil {
		return err
	}
	service := newService(call, newPublisher(call.TTRPC, call.Namespace))
	tasks.RegisterTTRPCTaskService(server, service)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, &asked{inherited, service}) }()
	return service.untilIdle(ctx, ended)
}

// untilIdle returns when the server should end, with its socket gone.
func (s *service) untilIdle(ctx context.Context, ended <-chan error) error {
	asked, unheard := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM, syscall.SIGINT)
	signal.Notify(unheard, syscall.SIGHUP, syscall.SIGPIPE) // and not ignored, which its children would inherit
	ticker := time.NewTicker(lookAround)
	defer ticker.Stop()
	for {
		patience := idle
		select {
		case err := <-ended:
			return fmt.Errorf("serve: %w", err)
		case <-asked:
			patience = 0
			fmt.Fprintf(os.Stderr, "asked to end, with containers %v\n", s.ids())
		case <-ticker.C:
			s.sweep(ctx)
		}
		if s.idleFor(patience) {
			if gone, err := s.leave(patience); gone || err != nil {
				return err
			}
		}
	}
}

func (s *service) idleFor(patience time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.containers) == 0 && time.Since(s.empty) >= patience
}

func (s *service) ids() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.containers))
}

// leave takes the socket away, unless somebody asked for the server meanwhile.
func (s *service) leave(patience time.Duration) (bool, error) {
	path := socket(s.call.Run, s.call.Server)
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|syscall.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil // the directory was cleaned up
	}
	if err != nil {
		return false, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return false, err
	}
	if !s.idleFor(patience) {
		return false, nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	return true, nil
}

// sweep removes containers that containerd has forgotten: what a caller began who gave up in the middle, and was taken
// for gone before the server had heard all of it. What was let go and runs stays: containerd may have lost sight of it, and the agent
// has not, who ends it when it is time.
func (s *service) sweep(ctx context.Context) {
	s.mu.Lock()
	var lost []*container
	for _, c := range s.containers {
		select {
		case <-c.made:
			if c.err == nil && c.isLost() {
				lost = append(lost, c)
			}
		default:
		}
	}
	s.mu.Unlock()
	for _, c := range lost {
		if err := c.destroy(ctx); err != nil {
			fmt.Fprintf(os.Stderr, "container %s, which nobody knows: %v\n", c.id, err)
			continue
		}
		s.forget(c)
	}
}

// isLost tells whether nobody will ask for the container any more.
func (c *container) isLost() bool {
	if now := c.init.look(); now.started && !now.ended {
		return false
	}
	_, err := os.Stat(c.bundle)
	return errors.Is(err, os.ErrNotExist)
}

// asked is a listener that notes when somebody comes.
type asked struct {
	net.Listener
	service *service
}

// Accept implements net.Listener.
func (a *asked) Accept() (net.Conn, error) {
	conn, err := a.Listener.Accept()
	a.service.mu.Lock()
	a.service.empty = time.Now()
	a.service.mu.Unlock()
	return conn, err
}
