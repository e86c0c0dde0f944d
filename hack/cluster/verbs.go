//go:build linux

package main

import "context"

// verb is one command.
type verb struct {
	name, args, does string
	nargs            int // at least
	run              func(ctx context.Context, c *Cluster, o options, args []string) error
}

var verbs = []verb{
	{"up", "", "start the cluster, or what is missing of it", 0,
		func(ctx context.Context, c *Cluster, o options, _ []string) error {
			return c.Up(ctx, o)
		}},
	{"down", "", "stop it and remove everything", 0,
		func(ctx context.Context, c *Cluster, o options, _ []string) error { return c.Down(ctx, o.strict) }},
	{"status", "", "show what runs", 0,
		func(_ context.Context, c *Cluster, _ options, _ []string) error { return c.Status() }},
	{"exec", "NODE CMD...", "run a command in a node's network namespace", 2,
		func(ctx context.Context, c *Cluster, _ options, a []string) error { return c.Exec(ctx, a[0], a[1:]) }},
	{"image-load", "TAR", "import an image archive into every node", 1,
		func(ctx context.Context, c *Cluster, _ options, a []string) error { return c.LoadImage(ctx, a[0]) }},
	{"limits", "default|raised", "start a full cluster's own parts with these limits towards the API server", 1,
		func(ctx context.Context, c *Cluster, _ options, a []string) error { return c.SetLimits(ctx, a[0]) }},
	{"node-stop", "NODE", "switch a node off, as a power cut would", 1,
		func(ctx context.Context, c *Cluster, _ options, a []string) error { return c.NodeStop(ctx, a[0]) }},
	{"node-start", "NODE", "switch it on again", 1,
		func(ctx context.Context, c *Cluster, _ options, a []string) error { return c.NodeStart(ctx, a[0]) }},
	{"agent-kill", "NODE", "kill a node's agent (SIGKILL)", 1, ofNode((*Cluster).Agent, killIt)},
	{"agent-start", "NODE", "start it again", 1, ofNode((*Cluster).Agent, startIt)},
	{"agent-restart", "NODE", "kill and start it", 1, ofNode((*Cluster).Agent, restartIt)},
	{"containerd-kill", "NODE", "kill a node's containerd (SIGKILL)", 1, ofNode((*Cluster).Containerd, killIt)},
	{"containerd-start", "NODE", "start it again", 1, ofNode((*Cluster).Containerd, startIt)},
	{"containerd-restart", "NODE", "kill and start it", 1, ofNode((*Cluster).Containerd, restartIt)},
	{"kubelet-kill", "NODE", "kill a full cluster's kubelet (SIGKILL)", 1, ofNode((*Cluster).Kubelet, killIt)},
	{"kubelet-start", "NODE", "start it again", 1, ofNode((*Cluster).Kubelet, startIt)},
	{"kubelet-restart", "NODE", "kill and start it", 1, ofNode((*Cluster).Kubelet, restartIt)},
	{"kube-proxy-restart", "NODE", "kill and start a full cluster's kube-proxy", 1, ofNode((*Cluster).KubeProxy, restartIt)},
	{"manager-kill", "", "kill the manager (SIGKILL)", 0, ofManager(killIt)},
	{"manager-start", "", "start it again", 0, ofManager(startIt)},
	{"manager-restart", "", "kill and start it", 0, ofManager(restartIt)},
	{"etcd-kill", "", "kill etcd (SIGKILL)", 0, ofEtcd(killIt)},
	{"etcd-start", "", "start it again, and wait until the API server is ready", 0, ofEtcd(startIt)},
	{"etcd-restart", "", "kill and start it", 0, ofEtcd(restartIt)},
	{"apiserver-stop", "", "stop the API server; etcd goes on", 0,
		func(ctx context.Context, c *Cluster, _ options, _ []string) error {
			return c.APIServerSwitch(ctx, false)
		}},
	{"apiserver-start", "", "start it again, and wait until it is ready", 0,
		func(ctx context.Context, c *Cluster, _ options, _ []string) error {
			return c.APIServerSwitch(ctx, true)
		}},
}

// ofNode makes a verb out of something that can be done to a program of a node.
func ofNode(do func(*Cluster, context.Context, string, fault) error, f fault) func(context.Context, *Cluster, options, []string) error {
	return func(ctx context.Context, c *Cluster, _ options, a []string) error { return do(c, ctx, a[0], f) }
}

func ofManager(f fault) func(context.Context, *Cluster, options, []string) error {
	return func(ctx context.Context, c *Cluster, _ options, _ []string) error { return c.Manager(ctx, f) }
}

func ofEtcd(f fault) func(context.Context, *Cluster, options, []string) error {
	return func(ctx context.Context, c *Cluster, _ options, _ []string) error { return c.Etcd(ctx, f) }
}
