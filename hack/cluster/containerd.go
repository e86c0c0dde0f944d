package main

import (
	"fmt"
	"os/exec"
	"strings"
)

// containerdConfig is the configuration of one node's containerd: all its paths are the node's own, nothing of the
// machine's is used or made, and what only a kubelet needs is off. Only the sockets of runc's shims are outside with containerd 1.7,
// which has no setting for them.
//
// no_sync: its database is not forced to disk. A crash of containerd loses nothing by that; a crash of the machine may,
// and the machine's crash ends a local cluster anyway.
func containerdConfig(l Layout, node string, old bool) string {
	run, data := l.NodeRunDir(node), l.NodeDataDir(node)
	disabled := []string{
		"io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
		"io.containerd.podsandbox.controller.v1.podsandbox", "io.containerd.nri.v1.nri",
		"io.containerd.monitor.container.v1.restart", "io.containerd.image-verifier.v1.bindir",
		"io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs", "io.containerd.differ.v1.erofs",
		"io.containerd.mount-handler.v1.erofs", "io.containerd.tracing.processor.v1.otlp",
	}
	socket := l.ContainerdSocket(node)
	top := fmt.Sprintf("root = %q\nstate = %q\ntemp = %q\ndisabled_plugins = [%s]\n", data+"/containerd", run+"/containerd", data+"/tmp", quoteAll(disabled))
	if old {
		return "version = 2\n" + top + fmt.Sprintf(`
[grpc]
  address = %q
[ttrpc]
  address = %q
[plugins]
  [plugins."io.containerd.metadata.v1.bolt"]
    no_sync = true
  [plugins."io.containerd.internal.v1.opt"]
    path = %q
`, socket, socket+".ttrpc", data+"/opt")
	}
	return "version = 4\n" + top + fmt.Sprintf(`
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
`, socket, socket+".ttrpc", data+"/opt", run+"/s")
}

// oldContainerd tells whether a containerd is of the 1.x line, which does not read the configuration of 2.x.
func oldContainerd(program string) (bool, error) {
	out, err := exec.Command(program, "--version").Output() // "containerd PACKAGE VERSION REVISION"
	if err != nil {
		return false, fmt.Errorf("%s --version: %w", program, err)
	}
	fields := strings.Fields(string(out))
	return len(fields) > 2 && strings.HasPrefix(strings.TrimPrefix(fields[2], "v"), "1."), nil
}

func quoteAll(items []string) string {
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = fmt.Sprintf("%q", s)
	}
	return strings.Join(quoted, ", ")
}
