package containerd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// shimName is how our shim is called where containerd executes it.
const shimName = "containerd-shim-miniplane-v1"

// InstallShim puts miniplane's shim (pause and cmd/shim) below rootDir, for containerd to execute, and returns its directory. The
// name of the runtime is the path of a link below it, one for each server: containerd needs no setting for it. The path holds a sum of
// the content, so that another version stands beside it: what runs still needs the older one.
func InstallShim(pause, server, rootDir, stateDir string) (string, error) {
	sum := sha256.New()
	for _, program := range []string{pause, server} {
		if err := addFile(sum, program); err != nil {
			return "", fmt.Errorf("shim: %w", err)
		}
	}
	_, _ = fmt.Fprintf(sum, "%d %s", len(stateDir), stateDir)
	name := fmt.Sprintf("shim-%x", sum.Sum(nil)[:6])
	dir := filepath.Join(rootDir, "bin", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("shim: %w", err)
	}
	if err := installLink(filepath.Join(stateDir, name), filepath.Join(dir, "run")); err != nil {
		return "", fmt.Errorf("shim: %w", err)
	}
	for file, program := range map[string]string{"server": server, shimName: pause} {
		if err := installProgram(filepath.Join(dir, file), program); err != nil {
			return "", fmt.Errorf("shim: %w", err)
		}
	}
	return dir, nil
}

// addFile adds a file's length and content to a sum.
func addFile(sum io.Writer, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(sum, "%d ", info.Size())
	_, err = io.Copy(sum, file)
	return err
}

// installProgram puts a copy of a program in a place whose name holds its sum. What is there with its length is it: it came there as a
// whole, when the disk had it. Reading it again would cost each start of the agent more than all else that comes before its first look.
func installProgram(path, program string) error {
	content, err := os.Stat(program)
	if err != nil {
		return err
	}
	if there, err := os.Stat(path); err == nil && there.Size() == content.Size() {
		return nil
	}
	return copyProgram(path, program)
}

func copyProgram(path, program string) error {
	from, err := os.Open(program)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	to, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	if err := errors.Join(err, to.Sync(), to.Close()); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

func installLink(target, path string) error {
	if there, err := os.Readlink(path); err == nil && there == target {
		return nil
	}
	if err := os.Remove(path + ".tmp"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, path+".tmp"); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// StopShims ends the servers of miniplane's shims, of all versions, on a node that has no containers any more, and removes
// what they kept. It waits for them; one that still has a container does not end.
func StopShims(ctx context.Context, stateDir string) error {
	sockets, err := filepath.Glob(filepath.Join(stateDir, "shim-*", "[0-9]*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, socket := range sockets {
		if !isServer(filepath.Base(socket)) {
			continue
		}
		if err := stopShim(ctx, socket); err != nil {
			errs = append(errs, fmt.Errorf("shim at %s: %w", socket, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	dirs, err := filepath.Glob(filepath.Join(stateDir, "shim-*"))
	for _, dir := range dirs {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

func stopShim(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // it ends at once, or has containers
	defer cancel()
	// Nobody tells that a socket is no longer served.
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		pid, err := listener(socket)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil
		}
		if err != nil {
			return err
		}
		if isShim(pid) { // or it has not come so far as to listen in its own name
			if err := syscall.Kill(int(pid), syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d does not end; it still has containers: %w", pid, ctx.Err())
		case <-time.After(pause):
		}
	}
}

func isShim(pid int32) bool {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && serves(cmdline)
}

// serves tells a server by its command line.
func serves(cmdline []byte) bool {
	return bytes.Contains(cmdline, []byte(shimName)) && bytes.HasSuffix(cmdline, []byte("\x00serve\x00"))
}
