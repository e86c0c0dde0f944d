//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
)

const cleanupTimeout = 60 * time.Second

// Down stops the cluster and removes all that it made, then looks whether anything is left. It needs no record of what was
// made: names and places follow from the layout, and processes are found by their cgroup. Agents clean up their nodes
// themselves first, as they do on a real node; with strict, it is an error if they leave something to the sweep.
func (c *Cluster) Down(ctx context.Context, strict bool) error {
	start := time.Now()
	defer c.lock()()
	state, err := c.readState()
	if err == nil {
		err = c.ours(state)
	}
	if err != nil {
		return err
	}
	processes := len(cgroupProcesses(c.cgroups()...))
	var forgotten error
	if c.full {
		c.stopFull()
	} else if state != nil {
		forgotten = c.stopInOrder(ctx, state)
	}
	removed, err := c.sweep()
	if err != nil {
		return err
	}
	if state != nil {
		state.restoreSysctls()
		removed.processes = processes
		removed.directories += removeEmptyDirs(state.MadeDirs)
	}
	if left := c.leftovers(); len(left) > 0 {
		return fmt.Errorf("something remains:\n  %s", strings.Join(left, "\n  "))
	}
	if state == nil && removed.nothing() {
		c.report.Say("no local cluster is running, and nothing is left of one")
		return nil
	}
	c.report.Say("down after %.1f s; removed %s", time.Since(start).Seconds(), removed)
	if forgotten != nil && strict {
		return forgotten
	}
	return nil
}

// stopInOrder stops the manager first, so that nothing is replaced, then lets each agent clean up while the rest of the
// control plane stops. The error tells what agents forgot.
func (c *Cluster) stopInOrder(ctx context.Context, state *State) error {
	_ = c.processes.Stop(managerName, graceShort)
	var rest errgroup.Group
	for name, grace := range map[string]time.Duration{kcmName: graceShort, apiserverName: graceAPIServer, registryName: graceShort} {
		rest.Go(func() error { return c.processes.Stop(name, grace) })
	}
	forgotten := make([]error, state.Nodes)
	for i := range state.Nodes {
		rest.Go(func() error {
			node := c.Node(i)
			forgotten[i] = c.cleanupNode(ctx, node)
			return c.processes.Stop(containerdName(node), graceShort)
		})
	}
	if err := rest.Wait(); err != nil {
		c.report.Say("  %v", err)
	}
	_ = c.processes.Stop(etcdName, 0)
	return errors.Join(forgotten...)
}

// cleanupNode stops a node's agent and has it remove what it made. The error tells what it left.
func (c *Cluster) cleanupNode(ctx context.Context, node string) error {
	if err := c.processes.Stop(agentName(node), graceShort); err != nil {
		return err
	}
	if c.stamp("nodeagent") == "" || !netnsExists(node) {
		return nil
	}
	if _, alive := c.processes.Find(containerdName(node)); !alive {
		return nil // a node that was switched off
	}
	if err := c.runCleanup(ctx, node); err != nil {
		c.report.Say("  %v", err)
		return err
	}
	if left := c.forgottenBy(node); len(left) > 0 {
		err := fmt.Errorf("the agent of %s forgot, at its clean-up: %s", node, strings.Join(left, ", "))
		c.report.Say("  %v", err)
		return err
	}
	return nil
}

func (c *Cluster) runCleanup(ctx context.Context, node string) error {
	ctx, cancel := context.WithTimeout(ctx, cleanupTimeout)
	defer cancel()
	log, err := c.processes.openLog(agentName(node))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.CommandContext(ctx, c.binary("nodeagent"), append(c.agentArgs(node), "--cleanup")...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := inNetNS(node, cmd.Start); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("clean-up of %s: %w; %s", node, err, c.processes.logTail(agentName(node)))
	}
	return nil
}

// forgottenBy lists what is left of a node's MiniPods: processes, mounts, cgroups, links, chains.
func (c *Cluster) forgottenBy(node string) []string {
	var left []string
	note := func(what string, n int) {
		if n > 0 {
			left = append(left, fmt.Sprintf("%d %s", n, what))
		}
	}
	note("processes of containers", len(cgroupProcesses(c.PodCgroup(node))))
	mounts, _ := mountsBelow(filepath.Join(c.NodeRunDir(node), "agent"), filepath.Join(c.NodeDataDir(node), "agent"),
		filepath.Join(c.NodeRunDir(node), "containerd"))
	note("mounts", len(mounts))
	cgroups := 0
	eachCgroup([]string{c.PodCgroup(node)}, func(string) { cgroups++ })
	note("cgroups", cgroups)
	links, chains := 0, 0
	_ = inNetNS(node, func() error {
		all, err := netlink.LinkList()
		links = len(all) - 2 // lo and eth0
		rules, _ := exec.Command("iptables-save").Output()
		chains = strings.Count(string(rules), "\n:MINI-")
		return err
	})
	note("links", links)
	note("chains", chains)
	return left
}
