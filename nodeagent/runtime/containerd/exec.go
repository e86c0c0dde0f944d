package containerd

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

const (
	// execStart is how long a command may take to start: that is the machine's time, not the command's.
	execStart = 30 * time.Second
	// execEnd is how long the end of a command may take that was killed, and its removal.
	execEnd = 10 * time.Second
	// execWait is how long one question for its end waits; then it is asked again.
	execWait = 30 * time.Second
)

// Exec implements runtime.Runtime. The output comes through a FIFO in memory; whoever is left behind by an agent that dies writes into
// it until its container ends, with which both are removed.
func (r *Runtime) Exec(ctx context.Context, id string, command runtime.Command) (runtime.Executed, error) {
	process, err := r.processOf(ctx, id)
	if err != nil {
		return runtime.Executed{}, fmt.Errorf("container %q: %w", id, err)
	}
	process.Args, process.Terminal = command.Args, false
	spec, err := typeurl.MarshalAny(&process)
	if err != nil {
		return runtime.Executed{}, err
	}
	exec := "exec-" + rand.Text()
	out, err := newOutput(filepath.Join(r.dir(id), exec), command.MaxOutput)
	if err != nil {
		return runtime.Executed{}, err
	}
	defer out.close()
	request := &tasks.ExecProcessRequest{ContainerID: id, ExecID: exec, Stdout: out.path, Stderr: out.path, Spec: typeurl.MarshalProto(spec)}
	if _, err := r.client.TaskService().Exec(ctx, request); err != nil {
		return runtime.Executed{}, fmt.Errorf("command in container %q: %w", id, native(err))
	}
	starting, cancel := context.WithTimeout(ctx, execStart)
	defer cancel()
	if _, err := r.client.TaskService().Start(starting, &tasks.StartRequest{ContainerID: id, ExecID: exec}); err != nil {
		r.killExec(ctx, id, exec) // it may have started nevertheless
		r.forgetExec(ctx, id, exec)
		return runtime.Executed{}, fmt.Errorf("start a command in container %q: %w", id, native(err))
	}
	began := time.Now()
	code, ended, err := r.waitExec(ctx, id, exec, deadlineOf(command, began))
	ran := time.Since(began)
	if err != nil || !ended {
		r.killExec(ctx, id, exec)
	}
	r.forgetExec(ctx, id, exec) // runc's shim may still have some of its output, and has passed it on after this
	if err != nil {
		return runtime.Executed{}, fmt.Errorf("command in container %q: %w", id, err)
	}
	return runtime.Executed{ExitCode: code, Output: out.take(), TimedOut: !ended, Ran: ran}, nil
}

// deadlineOf is when a command is killed; zero if it is not.
func deadlineOf(command runtime.Command, began time.Time) time.Time {
	if command.Timeout <= 0 {
		return time.Time{}
	}
	return began.Add(command.Timeout)
}

// waitExec waits for the end of a command; false when it did not end in time, if there is one.
func (r *Runtime) waitExec(ctx context.Context, id, exec string, deadline time.Time) (code int, ended bool, err error) {
	for {
		left := execWait
		if !deadline.IsZero() {
			left = min(left, time.Until(deadline))
		}
		if left <= 0 {
			return 0, false, nil
		}
		// Not a deadline, of which containerd is told, and which it may notice first, in words of its own.
		wait, cancel := context.WithCancel(ctx)
		timer := time.AfterFunc(left, cancel)
		end, err := r.client.TaskService().Wait(wait, &tasks.WaitRequest{ContainerID: id, ExecID: exec})
		over := !timer.Stop()
		cancel()
		switch {
		case err == nil:
			return int(end.ExitStatus), true, nil
		case ctx.Err() != nil || !over:
			return 0, false, native(err)
		}
	}
}

// killExec kills a command, if it runs, and waits for its end.
func (r *Runtime) killExec(ctx context.Context, id, exec string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), execEnd)
	defer cancel()
	if _, err := r.client.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: id, ExecID: exec, Signal: uint32(runtime.SIGKILL)}); err != nil {
		return // it has ended, or nothing is known of it
	}
	_, _ = r.client.TaskService().Wait(ctx, &tasks.WaitRequest{ContainerID: id, ExecID: exec})
}

// forgetExec has containerd and the shim forget a command that ended.
func (r *Runtime) forgetExec(ctx context.Context, id, exec string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), execEnd)
	defer cancel()
	_, _ = r.client.TaskService().DeleteProcess(ctx, &tasks.DeleteProcessRequest{ContainerID: id, ExecID: exec}) // it goes with its container at last
}

// processOf is what a container's first process was started as.
func (r *Runtime) processOf(ctx context.Context, id string) (specs.Process, error) {
	r.mu.Lock()
	known, ok := r.processes[id]
	r.mu.Unlock()
	if ok {
		return known, nil
	}
	record, err := r.client.ContainerService().Get(ctx, id)
	if err != nil {
		return specs.Process{}, native(err)
	}
	var spec struct {
		Process *specs.Process `json:"process"`
	}
	if err := json.Unmarshal(record.Spec.GetValue(), &spec); err != nil || spec.Process == nil {
		return specs.Process{}, fmt.Errorf("its record says no process: %w", errdefs.ErrFailedPrecondition)
	}
	r.mu.Lock()
	r.processes[id] = *spec.Process
	r.mu.Unlock()
	return *spec.Process, nil
}

// output takes what a command writes.
type output struct {
	path string
	fifo *os.File
	most int
	kept []byte
	done chan struct{}
}

// newOutput begins to read. The FIFO is open for writing too, so that it does not end when the first writer closes it, or before.
func newOutput(path string, most int) (*output, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	fifo, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		_ = os.Remove(path)
		return nil, err
	}
	o := &output{path: path, fifo: fifo, most: most, done: make(chan struct{})}
	go o.read()
	return o, nil
}

func (o *output) read() {
	defer close(o.done)
	buffer := make([]byte, 4096)
	for {
		n, err := o.fifo.Read(buffer)
		o.keep(buffer[:n])
		if err != nil {
			return
		}
	}
}

func (o *output) keep(text []byte) {
	o.kept = append(o.kept, text[:min(len(text), o.most-len(o.kept))]...)
}

// take ends the reading and returns what there was by then: the shim has passed on all of a command that ended.
func (o *output) take() []byte {
	_ = o.fifo.SetReadDeadline(time.Unix(1, 0))
	<-o.done
	raw, err := o.fifo.SyscallConn()
	if err != nil {
		return o.kept
	}
	_ = raw.Read(func(fd uintptr) bool {
		buffer := make([]byte, 4096)
		for len(o.kept) < o.most {
			n, err := unix.Read(int(fd), buffer)
			if n <= 0 || err != nil {
				break
			}
			o.keep(buffer[:n])
		}
		return true
	})
	return o.kept
}

func (o *output) close() {
	_ = o.fifo.Close()
	<-o.done
	_ = os.Remove(o.path)
}
