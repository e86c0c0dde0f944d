//go:build linux && cgo

package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/fifo"
	"github.com/opencontainers/runc/libcontainer"
)

// stdio is where a process's input comes from and its output goes, as containerd says it: paths of FIFOs, a URI, or nothing.
type stdio struct {
	stdin, stdout, stderr string
	terminal              bool
}

// streams connect a process with its stdio. Their methods may be called more than once, and close at any time.
type streams struct {
	// child has what is the process's only, closed here once it is started.
	child []*os.File
	// pump starts the copying, after the process's start.
	pump    func() error
	copying sync.WaitGroup

	mu      sync.Mutex
	stdin   io.Closer
	console *os.File
	opened  []io.Closer
}

// open opens a process's stdio.
func open(namespace, id string, s stdio, p *libcontainer.Process) (*streams, error) {
	out := &streams{pump: func() error { return nil }}
	err := out.open(namespace, id, s, p)
	if err != nil {
		out.close()
	}
	return out, err
}

func (s *streams) open(namespace, id string, to stdio, p *libcontainer.Process) error {
	target, err := url.Parse(to.stdout)
	if err != nil {
		return fmt.Errorf("stdout %q: %w", to.stdout, err)
	}
	switch {
	case to.terminal:
		return s.openTerminal(to, p)
	case target.Scheme == "binary":
		return s.openLogger(namespace, id, target, p)
	case target.Scheme == "file":
		return s.openFile(target.Path, p)
	case target.Scheme == "" || target.Scheme == "fifo":
		return s.openPipes(to, p)
	default:
		return fmt.Errorf("stdout %q: its scheme is not known", to.stdout)
	}
}

// null is the process's end of a stream that leads nowhere.
func (s *streams) null() (*os.File, error) {
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err == nil {
		s.child = append(s.child, f)
	}
	return f, err
}

func (s *streams) openFile(path string, p *libcontainer.Process) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	s.child = append(s.child, f)
	in, err := s.null()
	p.Stdin, p.Stdout, p.Stderr = in, f, f
	return err
}

// openLogger starts a program with the output as its descriptors 3 and 4, and waits until it says on 5 that it is ready.
func (s *streams) openLogger(namespace, id string, program *url.URL, p *libcontainer.Process) error {
	var pipes [4]*os.File // reading and writing ends in turn
	for i := 0; i < len(pipes); i += 2 {
		var err error
		if pipes[i], pipes[i+1], err = os.Pipe(); err != nil {
			return errors.Join(err, closeAll(pipes[:]))
		}
	}
	s.child = append(s.child, pipes[1], pipes[3])
	owner := logger{namespace: namespace, id: id, program: program, output: []*os.File{pipes[0], pipes[2]}}
	if err := owner.run(); err != nil {
		return errors.Join(err, closeAll(owner.output))
	}
	in, err := s.null()
	p.Stdin, p.Stdout, p.Stderr = in, pipes[1], pipes[3]
	return err
}

// openPipes copies between FIFOs and pipes.
func (s *streams) openPipes(to stdio, p *libcontainer.Process) error {
	var ends [3]*os.File // ours
	for i, path := range []string{to.stdin, to.stdout, to.stderr} {
		var theirs *os.File
		var err error
		if path == "" {
			theirs, err = s.null()
		} else {
			var r, w *os.File
			if r, w, err = os.Pipe(); err == nil {
				theirs, ends[i] = w, r
				if i == 0 {
					theirs, ends[i] = r, w
				}
				s.child = append(s.child, theirs)
				s.opened = append(s.opened, ends[i])
			}
		}
		if err != nil {
			return err
		}
		switch i {
		case 0:
			p.Stdin = theirs
		case 1:
			p.Stdout = theirs
		case 2:
			p.Stderr = theirs
		}
	}
	s.pump = func() error {
		return errors.Join(s.copyIn(to.stdin, ends[0]), s.copyOut(to.stdout, ends[1]), s.copyOut(to.stderr, ends[2]))
	}
	return nil
}

// copyIn copies from a FIFO until nobody has it open for writing, and then ends the process's input. It is held open for writing here,
// until closeStdin: writers may come and go, and what they have written by then is copied.
func (s *streams) copyIn(path string, to *os.File) error {
	if path == "" || to == nil {
		return nil
	}
	held, err := fifo.OpenFifo(context.Background(), path, syscall.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("stdin: %w", err)
	}
	s.keep(held)
	s.mu.Lock()
	s.stdin = held
	s.mu.Unlock()
	from, err := fifo.OpenFifo(context.Background(), path, syscall.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("stdin: %w", err)
	}
	s.keep(from)
	go func() {
		_, _ = io.Copy(to, from)
		if to != s.console {
			_ = to.Close()
		}
		_ = from.Close()
	}()
	return nil
}

// copyOut copies to a FIFO until the process's side is closed. It holds the reading end too, and first, so that it does not matter whether
// a reader is there already, or any more: who waited here for one that died would never collect the process, for which the container's own
// end would wait.
func (s *streams) copyOut(path string, from *os.File) error {
	if path == "" || from == nil {
		return nil
	}
	held, err := fifo.OpenFifo(context.Background(), path, syscall.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("output: %w", err)
	}
	s.keep(held)
	to, err := fifo.OpenFifo(context.Background(), path, syscall.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("output: %w", err)
	}
	s.keep(to)
	s.copying.Go(func() {
		_, _ = io.Copy(to, from)
		_ = to.Close()
		_ = held.Close()
	})
	return nil
}

func (s *streams) keep(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened = append(s.opened, c)
}

// started is called when the process has its ends.
func (s *streams) started() error {
	s.closeChild()
	return s.pump()
}

func (s *streams) closeChild() {
	for _, f := range s.child {
		_ = f.Close()
	}
	s.child = nil
}

// drain waits until the output of a process that ended is passed on; not for long, since others may hold it.
func (s *streams) drain() {
	done := make(chan struct{})
	go func() { s.copying.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(2 * time.Second):
	}
}

// closeStdin ends the process's input, once all writers of it are gone.
func (s *streams) closeStdin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stdin != nil {
		_ = s.stdin.Close()
	}
}

func (s *streams) close() {
	s.closeChild()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.opened {
		_ = c.Close()
	}
	s.opened = nil
}
