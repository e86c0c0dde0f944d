//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// containerdNamespace is the agent's.
const containerdNamespace = "miniplane"

// Exec replaces this process by a command in a node's network namespace, with kubectl and the kubeconfig at hand. One
// argument is a line for the shell; several are a command and its arguments. The control plane's namespace works too.
func (c *Cluster) Exec(ctx context.Context, name string, command []string) error {
	state, err := c.running()
	if err != nil {
		return err
	}
	if name != c.ControlPlane() {
		if _, err := c.node(state, name); err != nil {
			return err
		}
	}
	if c.assets, err = c.script(ctx, "assets.sh"); err != nil {
		return err
	}
	if len(command) == 1 {
		command = []string{"sh", "-c", command[0]}
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	if err := joinCgroup(c.DaemonCgroup(name)); err != nil {
		return err
	}
	env := append(os.Environ(), c.assetPath(), "KUBECONFIG="+c.Kubeconfig(), "CONTAINERD_ADDRESS="+c.ContainerdSocket(name),
		"CONTAINERD_NAMESPACE="+containerdNamespace, "CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=true")
	// The main thread runs this function (see main), and an exec keeps that thread's namespaces.
	return enterNetNS(name, func() error { return syscall.Exec(path, command, env) })
}

// LoadImage imports an OCI or docker archive into every node that is on.
func (c *Cluster) LoadImage(ctx context.Context, archive string) error {
	archive, err := filepath.Abs(archive)
	if err != nil {
		return err
	}
	if _, err := os.Stat(archive); err != nil {
		return fmt.Errorf("image archive: %w", err)
	}
	return c.change(ctx, func(s *State) error {
		var group errgroup.Group
		for _, node := range c.NodeNames(s.Nodes) {
			if slices.Contains(s.Stopped, node) {
				c.report.Say("%s is off: not loaded there", node)
				continue
			}
			group.Go(func() error {
				start := time.Now()
				if err := c.importImage(ctx, node, archive); err != nil {
					return err
				}
				c.report.Say("%s: loaded in %.1f s", node, time.Since(start).Seconds())
				return nil
			})
		}
		return group.Wait()
	})
}

func (c *Cluster) importImage(ctx context.Context, node, archive string) error {
	namespaces := []string{containerdNamespace}
	if c.full {
		namespaces = append(namespaces, nativeNamespace)
	}
	for _, namespace := range namespaces {
		cmd := exec.CommandContext(ctx, c.asset("ctr"), "--address", c.ContainerdSocket(node), "--namespace", namespace,
			"images", "import", "--local", archive)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", node, err, out)
		}
	}
	return nil
}

// Status prints what runs. It fails when something should and does not.
func (c *Cluster) Status() error {
	state, err := c.running()
	if err != nil {
		return err
	}
	c.report.Say("local cluster of %s, %d nodes, since %s", state.Root, state.Nodes, state.Started.Format(time.DateTime))
	c.report.Say("API server %s, kubeconfig %s, logs %s", c.APIServer(), c.Kubeconfig(), c.LogDir())
	for i, node := range c.NodeNames(state.Nodes) {
		if slices.Contains(state.Stopped, node) {
			c.report.Say("%-28s switched off", node)
			continue
		}
		c.report.Say("%-28s %s", node, c.NodeIP(i))
	}
	var dead []string
	for _, name := range c.programNames(state) {
		r, alive := c.processes.Find(name)
		if !alive {
			dead = append(dead, name)
			c.report.Say("%-28s not running", name)
			continue
		}
		c.report.Say("%-28s process %d", name, r.PID)
	}
	if len(dead) > 0 {
		return errors.New("not running: " + strings.Join(dead, ", ") + "; make cluster-up starts what is missing")
	}
	return nil
}

// dialUnix tells whether something listens on the socket.
func dialUnix(path string) error {
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}
