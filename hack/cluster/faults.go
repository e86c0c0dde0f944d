//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// change runs do on the running cluster while no other command changes it.
func (c *Cluster) change(ctx context.Context, do func(s *State) error) error {
	defer c.lock()()
	state, err := c.running()
	if err != nil {
		return err
	}
	if err := c.findAssets(ctx); err != nil {
		return err
	}
	return do(state)
}

// onNode runs do for a node of the running cluster.
func (c *Cluster) onNode(ctx context.Context, name string, do func(s *State, index int) error) error {
	return c.change(ctx, func(s *State) error {
		index, err := c.node(s, name)
		if err != nil {
			return err
		}
		return do(s, index)
	})
}

// kill ends a program as a crash would.
func (c *Cluster) kill(name string) error {
	if _, running := c.processes.Find(name); !running {
		return fmt.Errorf("%s is not running", name)
	}
	return c.processes.Stop(name, 0)
}

func (c *Cluster) start(p Program) error {
	started, err := c.processes.Ensure(p)
	if err == nil && !started {
		c.report.Say("%s is running already", p.Name)
	}
	return err
}

// NodeStop switches a node off as a power cut would: every process of it dies at once, and what a machine keeps in memory
// is lost (its network, its pins and sockets). Its disk stays.
func (c *Cluster) NodeStop(ctx context.Context, name string) error {
	return c.onNode(ctx, name, func(s *State, _ int) error {
		if err := c.notFull(); err != nil {
			return err
		}
		cgroups := []string{c.DaemonCgroup(name), c.PodCgroup(name)}
		killed, err := killCgroups(cgroups...)
		if err != nil {
			return err
		}
		if _, err := unmountBelow(c.NodeRunDir(name), c.NodeDataDir(name)); err != nil {
			return err
		}
		_ = inNetNS(name, func() error { return removeLink(nodeLink) })
		_, cgroupErr := removeCgroups(cgroups...)
		err = errors.Join(removeNetNS(name), cgroupErr, os.RemoveAll(c.NodeRunDir(name)),
			c.processes.Stop(agentName(name), 0), c.processes.Stop(containerdName(name), 0))
		if !slices.Contains(s.Stopped, name) {
			s.Stopped = append(s.Stopped, name)
		}
		c.report.Say("%s is off: %d processes killed", name, killed)
		return errors.Join(err, c.writeState(s))
	})
}

// NodeStart switches a node on again.
func (c *Cluster) NodeStart(ctx context.Context, name string) error {
	return c.onNode(ctx, name, func(s *State, index int) error {
		if err := c.notFull(); err != nil {
			return err
		}
		if err := c.startNodeMachine(ctx, index); err != nil {
			return err
		}
		s.Stopped = slices.DeleteFunc(s.Stopped, func(n string) bool { return n == name })
		return errors.Join(c.start(c.agent(name)), c.writeState(s))
	})
}

// fault is what is done to a program.
type fault int

const (
	killIt fault = iota
	startIt
	restartIt // killed, and started at once, as a supervisor would
)

// inflict kills a program (SIGKILL), starts it by the function, or both.
func (c *Cluster) inflict(f fault, name string, start func() error) error {
	if f != startIt {
		if err := c.kill(name); err != nil {
			return err
		}
	}
	if f == killIt {
		return nil
	}
	return start()
}

// Agent does it to a node's agent.
func (c *Cluster) Agent(ctx context.Context, node string, f fault) error {
	return c.onNode(ctx, node, func(*State, int) error {
		if c.full && f == killIt {
			return c.killPodAgent(node)
		}
		if err := c.notFull(); err != nil {
			return err
		}
		return c.inflict(f, agentName(node), func() error { return c.start(c.agent(node)) })
	})
}

// Containerd does it to a node's containerd.
func (c *Cluster) Containerd(ctx context.Context, node string, f fault) error {
	return c.onNode(ctx, node, func(_ *State, index int) error {
		return c.inflict(f, containerdName(node), func() error { return c.startNodeMachine(ctx, index) })
	})
}

// Manager does it to the manager.
func (c *Cluster) Manager(ctx context.Context, f fault) error {
	return c.change(ctx, func(*State) error {
		if err := c.notFull(); err != nil {
			return err
		}
		return c.inflict(f, managerName, func() error { return c.start(c.manager()) })
	})
}

// Etcd does it to etcd, whose data stays; the API server finds it again.
func (c *Cluster) Etcd(ctx context.Context, f fault) error {
	return c.change(ctx, func(*State) error {
		return c.inflict(f, etcdName, func() error {
			if err := c.start(c.etcd()); err != nil {
				return err
			}
			return c.waitAPIServer(ctx)
		})
	})
}

// APIServerSwitch stops or starts the API server; etcd goes on.
func (c *Cluster) APIServerSwitch(ctx context.Context, on bool) error {
	return c.change(ctx, func(*State) error {
		if !on {
			return c.processes.Stop(apiserverName, c.graceOfOutage())
		}
		return c.startAPIServer(ctx)
	})
}

// graceOfOutage is none in a full cluster: an API server that ends in order withdraws its address, and when it is back
// everybody in a Pod waits until kube-proxy has found out.
func (c *Cluster) graceOfOutage() time.Duration {
	if c.full {
		return 0
	}
	return graceAPIServer
}
