//go:build linux && cgo

package shim

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runc/libcontainer/system"
	"golang.org/x/sys/unix"
)

// reap ends and collects what libcontainer left of a command that could not be started in a container.
//
// A command is born as the server's child in the container's PID namespace before libcontainer knows its number. If it is killed by then, as by
// the container's end or for want of memory, libcontainer never waits for it. runc ends at this point, and the zombie is
// init's. The server stays, and so would the zombie: then the container's first process could not end, for the kernel has it wait until
// its namespace is empty.
//
// No other command may be in the making in the container (see startExec): whatever child is in its namespace and not known is of this one.
func (c *container) reap() {
	c.mu.Lock()
	known := map[int]bool{c.init.pid: true}
	for _, t := range c.execs {
		known[t.look().pid] = true
	}
	c.mu.Unlock()
	space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", c.init.pid))
	if err != nil {
		return // it has ended, and with it all that was there
	}
	links, err := filepath.Glob("/proc/[0-9]*/ns/pid")
	if err != nil {
		return
	}
	for _, link := range links {
		if its, err := os.Readlink(link); err != nil || its != space {
			continue
		}
		process := filepath.Dir(filepath.Dir(link))
		pid, err := strconv.Atoi(filepath.Base(process))
		if err != nil || known[pid] || !ownChild(process) {
			continue
		}
		_ = syscall.Kill(pid, syscall.SIGKILL) // nobody else can have its number before it is collected
		go func() {
			for {
				if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
					return
				}
			}
		}()
	}
}

// strayFor is how long a child that has ended is left to whoever may be about to collect it: a moment, for who started it waits for nothing else.
const strayFor = time.Second

// reap is a container's, where its PIDs are its own. In a namespace that others are in too, commands of theirs may be in the making, which are not
// known either: there only what has ended, and was not collected for a while, is of nobody. The pause, whose namespace it is, could not end before.
func (s *service) reap(c *container) {
	if ownPIDs(c.spec) {
		c.reap()
		return
	}
	go func() {
		before := s.strays()
		<-time.After(strayFor)
		for pid, began := range s.strays() {
			if since, there := before[pid]; there && since == began {
				_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
			}
		}
	}()
}

// strays are the server's children that have ended and that none of its containers is known to wait for, with when they began.
func (s *service) strays() map[int]uint64 {
	known := map[int]bool{}
	s.mu.Lock()
	for _, c := range s.containers {
		known[c.init.look().pid] = true
		c.mu.Lock()
		for _, t := range c.execs {
			known[t.look().pid] = true
		}
		c.mu.Unlock()
	}
	s.mu.Unlock()
	out := map[int]uint64{}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, process := range processes {
		pid, err := strconv.Atoi(filepath.Base(process))
		if err != nil || known[pid] || !ownChild(process) {
			continue
		}
		if now, err := system.Stat(pid); err == nil && now.State == system.Zombie {
			out[pid] = now.StartTime
		}
	}
	return out
}

// ownChild tells whether the server is the parent of a process, given by its directory in /proc.
func ownChild(process string) bool {
	status, err := os.ReadFile(filepath.Join(process, "status"))
	return err == nil && strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", os.Getpid()))
}
