//go:build linux && cgo

// Package shim starts the containers of a node for containerd, many from one process.
//
// The idea: a container costs one execution of one program, its init. containerd's usual shim costs two executions of itself
// per MiniPod, and two more of runc per container, all of them Go programs that read the same things again. Here one
// resident server speaks containerd's task API (version 2, which containerd speaks from 1.3 on) and creates containers
// with runc's own library, libcontainer. containerd still runs "start" for each task; that is a few kilobytes of C
// (cmd/pause/shim.c) which finds the living server and prints its address.
//
// Three costs of libcontainer as a resident library are avoided here:
//
//   - the copy of the program that guards the host's file from the container: the server runs from a sealed copy already;
//   - with cgroup v1, the wait for the kernel's grace period when a process changes its cgroup: a thread of the server enters
//     the container's cgroup, which waits for nothing, and the init is born there (see home);
//   - the compilation of the same seccomp profile for every container (see filters, and package guard).
//
// What makes it hard is that the server's end must lose nothing silently, and that callers come and go in the middle of a
// call. The rules:
//
//	containerd ends      the server keeps its containers; the next containerd connects again by the address in the bundle
//	the caller ends      while its container is being created: that container is taken back
//	the server ends      containerd sees the connection close and runs "delete" for each container, which leaves alone what
//	                     was let go and lives, and takes away the rest; if containerd is away too, it does so when it
//	                     comes back. The agent looks after what lives
//	no container for     the server ends by itself
//	ten minutes
//
// The agent says which server a container belongs to, so that the failure of one concerns only so many MiniPods; all containers of a
// MiniPod share one. The path of everything holds a sum of the program's content, so that an upgraded agent starts its containers with
// new servers while the old ones keep theirs.
package shim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// Call is one execution of the program by containerd, or of a server by "start".
type Call struct {
	// Action is start, delete or serve.
	Action string
	// Namespace in containerd, ID of the container, Bundle of the container, and the number of the server.
	Namespace, ID, Bundle, Server string
	// Address of containerd, and TTRPC the address that takes events.
	Address, TTRPC string
	// Run is the directory of sockets and of what is known about containers.
	Run string
}

// RunDir is where the program in dir keeps its sockets: the target of a link beside it, which the agent made.
func RunDir(dir string) (string, error) {
	run, err := os.Readlink(filepath.Join(dir, "run"))
	if err != nil {
		return "", fmt.Errorf("this shim is not installed by an agent: %w", err)
	}
	if !filepath.IsAbs(run) {
		return "", errors.New("the link " + filepath.Join(dir, "run") + " must be absolute")
	}
	return run, nil
}

// Server is the number of the server that a container belongs to: the agent gave it to the directory of the link that containerd
// executes. cmd/pause/shim.c reads the same.
func Server(program string) (string, error) {
	name := filepath.Base(filepath.Dir(program))
	if _, err := strconv.ParseUint(name, 10, 32); err != nil {
		return "", fmt.Errorf("%s is not in the directory of a server, whose name is a number", program)
	}
	return name, nil
}

// socket of a server.
func socket(run, server string) string { return filepath.Join(run, server) }

// stateRoot has a directory for each container; it is there from before the first trace of a container to after the last.
func stateRoot(run string) string { return filepath.Join(run, "c") }
