//go:build linux && cgo

package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	tasks "github.com/containerd/containerd/api/runtime/task/v2"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/system"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
	"miniplane.dev/miniplane/nodeagent/runtime/containerd/shim/waiting"
)

// answers is how long a server that listens may take to say what it knows of a container. containerd gives the whole of "delete" 5 s.
const answers = 3 * time.Second

// Delete removes what is left of a container whose connection to the server was lost, and returns how it ended, as
// containerd wants to read it. If the server lives it does the work, for it may be in the middle of something.
//
// A container that was let go and lives is left alone: it is not its fault that the server failed. Only the agent ends it. What the
// answer says of it then is nobody's word; containerd forgets the task, and the agent looks after the process (see package containerd).
func Delete(ctx context.Context, call Call) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	response, err := deleteThere(ctx, call)
	if errors.Is(err, errNoServer) || errdefs.IsNotFound(err) {
		response, err = deleteHere(ctx, call)
	}
	if err != nil {
		return nil, err
	}
	return proto.Marshal(response)
}

var errNoServer = errors.New("no server listens")

// deleteThere leaves it to the server. One that does not answer is asked for nothing: it would do it later, when nobody wants it any more.
func deleteThere(ctx context.Context, call Call) (*tasks.DeleteResponse, error) {
	conn, err := net.DialTimeout("unix", socket(call.Run, call.Server), time.Second)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, errNoServer
	}
	if err != nil {
		return nil, err
	}
	client := ttrpc.NewClient(conn)
	defer client.Close()
	service := tasks.NewTTRPCTaskClient(client)
	asking, cancel := context.WithTimeout(ctx, answers)
	defer cancel()
	now, err := service.State(asking, &tasks.StateRequest{ID: call.ID})
	if err != nil {
		return nil, errgrpc.ToNative(err)
	}
	switch now.Status {
	case tasktypes.Status_RUNNING, tasktypes.Status_PAUSED:
		return spared(now.Pid), nil
	case tasktypes.Status_CREATED:
		_, err = service.Kill(ctx, &tasks.KillRequest{ID: call.ID, Signal: uint32(syscall.SIGKILL)})
		if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) {
			return nil, err
		}
		_, _ = service.Wait(ctx, &tasks.WaitRequest{ID: call.ID})
	}
	response, err := service.Delete(ctx, &tasks.DeleteRequest{ID: call.ID})
	return response, errgrpc.ToNative(err)
}

func deleteHere(ctx context.Context, call Call) (*tasks.DeleteResponse, error) {
	dir := filepath.Join(stateRoot(call.Run), call.ID)
	bundle := call.Bundle
	if bundle == "" {
		var err error
		if bundle, err = os.Getwd(); err != nil {
			return nil, err
		}
	}
	spec, err := readSpec(bundle)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	there := err == nil
	pid, lives, err := living(dir, "/proc/self/exe")
	if err != nil {
		return nil, err
	}
	if there {
		if !lives {
			if err := cgroup.Remove(ctx, spec.Linux.CgroupsPath); err != nil {
				return nil, err
			}
		}
		if err := unmount(spec.Root.Path); err != nil { // the container has its own mounts
			return nil, err
		}
	}
	response := recordedExit(dir)
	if lives {
		response = spared(uint32(pid))
	}
	return response, forget(dir)
}

// forget removes a container's directory as a whole: half of it would say of a container that lives that it does not.
func forget(dir string) error {
	aside := filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir))
	if err := os.RemoveAll(aside); err != nil {
		return err
	}
	if err := os.Rename(dir, aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.RemoveAll(aside)
}

// spared is the answer for a container that is left alone.
func spared(pid uint32) *tasks.DeleteResponse {
	return &tasks.DeleteResponse{Pid: pid, ExitStatus: 255, ExitedAt: timestamppb.Now()}
}

// living finds the first process of a container that was let go and has not ended, by what libcontainer wrote of it. An error proves
// nothing: who does not know whether it lives must not end it. The server's program is what it is a copy of until it was let go.
func living(dir, server string) (pid int, lives bool, err error) {
	text, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	var state libcontainer.BaseState
	if err := json.Unmarshal(text, &state); err != nil {
		return 0, false, fmt.Errorf("what is known of its process: %w", err)
	}
	if state.InitProcessPid <= 0 {
		return 0, false, nil
	}
	process, err := system.Stat(state.InitProcessPid)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	if process.StartTime != state.InitProcessStartTime || process.State == system.Zombie || process.State == system.Dead {
		return 0, false, nil
	}
	waits, err := stillWaits(dir, state.InitProcessPid, server)
	return state.InitProcessPid, err == nil && !waits, err
}

// stillWaits tells whether an init waits to be let go. It does so at a FIFO, which a server removes after it let the init go, if it comes to that.
func stillWaits(dir string, pid int, server string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, "exec.fifo"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	switch waiting.Look(pid, server) {
	case waiting.Waits:
		return true, nil
	case waiting.Executes:
		return false, nil
	default:
		return false, fmt.Errorf("the kernel does not say what process %d executes", pid)
	}
}

// recordedExit is how a container ended as its server wrote it down; killed just now, if it did not.
func recordedExit(dir string) *tasks.DeleteResponse {
	out := &tasks.DeleteResponse{ExitStatus: 128 + uint32(syscall.SIGKILL), ExitedAt: timestamppb.Now()}
	text, err := os.ReadFile(filepath.Join(dir, "exit"))
	if err != nil {
		return out
	}
	var code, pid uint32
	var at int64
	if _, err := fmt.Sscan(string(text), &code, &at, &pid); err == nil {
		out.ExitStatus, out.ExitedAt, out.Pid = code, timestamppb.New(time.Unix(0, at)), pid
	}
	return out
}
