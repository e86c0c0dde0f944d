package main

import (
	"fmt"
	"strings"
)

// containerdConfig is the configuration of one node's containerd: all its paths are the node's own, nothing of the
// machine's is used or made, and what only a kubelet needs is off.
//
// no_sync: its database is not forced to disk. A crash of containerd loses nothing by that; a crash of the machine may,
// and the machine's crash ends a local cluster anyway.
func containerdConfig(l Layout, node string) string {
	run, data := l.NodeRunDir(node), l.NodeDataDir(node)
	disabled := []string{
		"io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
		"io.containerd.podsandbox.controller.v1.podsandbox", "io.containerd.nri.v1.nri",
		"io.containerd.monitor.container.v1.restart", "io.containerd.image-verifier.v1.bindir",
		"io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs", "io.containerd.differ.v1.erofs",
		"io.containerd.mount-handler.v1.erofs", "io.containerd.tracing.processor.v1.otlp",
	}
	return fmt.Sprintf(`version = 4
root = %q
state = %q
temp = %q
disabled_plugins = [%s]

[plugins]
  [plugins.'io.containerd.server.v1.grpc']
    address = %q
  [plugins.'io.containerd.server.v1.ttrpc']
    address = %q
  [plugins.'io.containerd.metadata.v1.bolt']
    no_sync = true
  [plugins.'io.containerd.internal.v1.opt']
    path = %q
  [plugins.'io.containerd.shim.v1.manager']
    socket_dir = %q
`, data+"/containerd", run+"/containerd", data+"/tmp", quoteAll(disabled),
		l.ContainerdSocket(node), l.ContainerdSocket(node)+".ttrpc", data+"/opt", run+"/s")
}

func quoteAll(items []string) string {
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = fmt.Sprintf("%q", s)
	}
	return strings.Join(quoted, ", ")
}
