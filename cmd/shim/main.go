//go:build linux && cgo

// Command shim starts the containers of a node for containerd.
//
// containerd executes it with its usual arguments, mostly by way of cmd/pause/shim.c, which knows the short answers:
//
//	start    prints the address of the server that the container belongs to, and starts it if it does not run
//	delete   removes what is left of a container whose server is gone
//	serve    is the server; "start" starts it
//	filter   sets a seccomp filter for the server to read
//	init     is what libcontainer starts a container with
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // joins and makes namespaces before the Go runtime has threads

	"miniplane.dev/miniplane/nodeagent/runtime/containerd/shim"
	"miniplane.dev/miniplane/nodeagent/runtime/containerd/shim/guard"
)

func init() {
	if len(os.Args) > 1 && os.Args[1] == "init" {
		shim.BeginClean()
		guard.Watch()
		libcontainer.Init() // does not return
	}
	if len(os.Args) > 1 && os.Args[1] == "filter" {
		runtime.LockOSThread() // the filter must be that of the first thread, which is the one that is looked at
	}
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "miniplane shim:", err)
		os.Exit(1)
	}
}

func run() error {
	call, err := parse(os.Args[1:])
	if err != nil {
		return err
	}
	ctx := context.Background()
	switch call.Action {
	case "filter":
		return shim.ShowFilter(os.Stdin)
	case "start":
		address, err := shim.Start(call)
		if err == nil {
			_, err = os.Stdout.WriteString(address)
		}
		return err
	case "delete":
		answer, err := shim.Delete(ctx, call)
		if err == nil {
			_, err = os.Stdout.Write(answer)
		}
		return err
	case "serve":
		if err := shim.Seal(call.Run); err != nil {
			fmt.Fprintln(os.Stderr, "miniplane shim: the program is copied for each container, because it cannot be sealed:", err)
		}
		return shim.Serve(ctx, call)
	default:
		return fmt.Errorf("containerd executes this program; it does not know the action %q", call.Action)
	}
}

// parse reads containerd's arguments.
func parse(args []string) (shim.Call, error) {
	call := shim.Call{TTRPC: os.Getenv("TTRPC_ADDRESS")}
	flags := flag.NewFlagSet("shim", flag.ContinueOnError)
	flags.StringVar(&call.Namespace, "namespace", "", "namespace in containerd")
	flags.StringVar(&call.ID, "id", "", "ID of the container; number of the server, for serve")
	flags.StringVar(&call.Bundle, "bundle", "", "bundle of the container")
	flags.StringVar(&call.Address, "address", "", "socket of containerd")
	flags.StringVar(&call.TTRPC, "ttrpc", call.TTRPC, "socket that takes events")
	flags.StringVar(&call.Run, "run", "", "directory of the servers")
	flags.String("publish-binary", "", "not used: events are sent by ttrpc")
	flags.Bool("debug", false, "not used")
	if err := flags.Parse(args); err != nil {
		return call, err
	}
	call.Action = flags.Arg(0)
	if call.Run != "" || call.Action == "filter" {
		call.Server = call.ID
		return call, nil
	}
	self, err := os.Executable()
	if err != nil {
		return call, err
	}
	if call.Server, err = shim.Server(os.Args[0]); err != nil {
		return call, err
	}
	call.Run, err = shim.RunDir(filepath.Dir(self))
	return call, err
}
