//go:build linux && cgo

package shim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	tasks "github.com/containerd/containerd/api/runtime/task/v2"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
)

// Delete removes what is left of a container whose connection to the server was lost, and returns how it ended, as
// containerd wants to read it. If the server lives it does the work, for it may be in the middle of something.
func Delete(ctx context.Context, call Call) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	response, err := deleteThere(ctx, call)
	if err != nil {
		response, err = deleteHere(ctx, call)
	}
	if err != nil {
		return nil, err
	}
	return proto.Marshal(response)
}

func deleteThere(ctx context.Context, call Call) (*tasks.DeleteResponse, error) {
	conn, err := net.DialTimeout("unix", socket(call.Run, slot(call.ID)), time.Second) // it is on this machine
	if err != nil {
		return nil, err
	}
	client := ttrpc.NewClient(conn)
	defer client.Close()
	service := tasks.NewTTRPCTaskClient(client)
	_, err = service.Kill(ctx, &tasks.KillRequest{ID: call.ID, Signal: uint32(syscall.SIGKILL)})
	if err = errgrpc.ToNative(err); err == nil || errdefs.IsNotFound(err) {
		_, _ = service.Wait(ctx, &tasks.WaitRequest{ID: call.ID})
		return service.Delete(ctx, &tasks.DeleteRequest{ID: call.ID})
	}
	return nil, err
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
	if err == nil {
		if err := cgroup.Remove(ctx, spec.Linux.CgroupsPath); err != nil {
			return nil, err
		}
		if err := unmount(spec.Root.Path); err != nil {
			return nil, err
		}
	}
	response := recordedExit(dir)
	return response, os.RemoveAll(dir)
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
