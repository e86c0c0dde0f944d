package podworker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/nodeagent/foreign"
	"miniplane.dev/miniplane/nodeagent/names"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/stdio"
)

const (
	// resolvConf is the machine's resolver configuration, and stubbedResolvConf what it really is where systemd-resolved
	// puts itself in front, at an address that a MiniPod cannot reach.
	resolvConf        = "/etc/resolv.conf"
	stubbedResolvConf = "/run/systemd/resolve/resolv.conf"
)

// mountedFiles are the files that each MiniPod has and where its containers see them.
var mountedFiles = map[string]string{
	"hosts":       "/etc/hosts",
	"hostname":    "/etc/hostname",
	"resolv.conf": resolvConf,
}

// writeFiles writes the files that all containers of the MiniPod see into the sandbox's directory for them. Containers may
// write to them too, and so fill that directory and nothing else. What is right already is left alone, because running containers
// may be reading it. What found no room in the resolver's file is said in words.
func writeFiles(pod *miniv1.MiniPod, podIP, files string, cluster names.Cluster) (leftOut string, err error) {
	dir, err := os.OpenRoot(files)
	if err != nil {
		return "", err
	}
	defer func() { _ = dir.Close() }()
	resolver, err := hostResolver()
	if err != nil {
		return "", err
	}
	hostname, err := names.Kernel(pod, cluster)
	if err != nil {
		return "", err
	}
	hosts := names.Hosts(pod, podIP, cluster)
	if pod.Spec.HostNetwork {
		node, err := nodeHosts()
		if err != nil {
			return "", err
		}
		hosts = names.NodeHosts(pod, node)
	}
	resolver, leftOut = names.Resolver(pod, resolver, cluster)
	for name, content := range map[string][]byte{
		"hosts":       hosts,
		"hostname":    []byte(hostname + "\n"),
		"resolv.conf": resolver,
	} {
		if err := foreign.Write(dir, name, content); err != nil {
			return "", fmt.Errorf("%s (MiniPods have %s for such files): %w", mountedFiles[name], files, err)
		}
	}
	return leftOut, nil
}

// mostHosts is how long a machine's /etc/hosts may be, in bytes: longer ones have no room among the files of a MiniPod.
const mostHosts = 512 << 10

// nodeHosts is the machine's /etc/hosts as its first process sees it: that of an agent in a container is as old as the container. Where
// that cannot be read, it is the agent's own.
func nodeHosts() ([]byte, error) {
	if content, err := foreign.ReadInside("/proc/1/root", mountedFiles["hosts"], mostHosts); err == nil {
		return content, nil
	}
	content, err := foreign.ReadInside("/", mountedFiles["hosts"], mostHosts)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return content, err
}

// hostResolver is the machine's resolver configuration as a MiniPod can use it; empty if the machine has none.
func hostResolver() ([]byte, error) {
	content, err := os.ReadFile(resolvConf)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if names.OnlyLoopback(content) {
		if real, err := os.ReadFile(stubbedResolvConf); err == nil {
			return real, nil
		}
	}
	return content, nil
}

// mounts of the MiniPod's files, read-only where the whole file system is to be.
func fileMounts(files string, readOnly bool) []runtime.Mount {
	var out []runtime.Mount
	for _, name := range []string{"hostname", "hosts", "resolv.conf"} {
		out = append(out, runtime.Mount{HostPath: filepath.Join(files, name), ContainerPath: mountedFiles[name], ReadOnly: readOnly})
	}
	return out
}

// removeFiles removes the logs of a MiniPod. Its other files go with its sandbox, but for those of an earlier version.
// The directory of its logs is looked for only where it is not known, as for a MiniPod that is gone from the API: on a full node
// there are a thousand of them.
func (l Layout) removeFiles(uid types.UID, logDir string) error {
	logs := []string{logDir}
	if logDir == "" {
		var err error
		if logs, err = filepath.Glob(filepath.Join(l.logsDir(), "*_"+string(uid))); err != nil {
			return err
		}
	}
	for _, dir := range append(logs, l.podDir(uid)) {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// podsWithFiles lists the UIDs of all MiniPods that have files or logs.
func (l Layout) podsWithFiles() ([]types.UID, error) {
	var out []types.UID
	for _, dir := range []string{l.podsDir(), l.logsDir(), l.endsDir()} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		for _, entry := range entries {
			name := entry.Name()
			out = append(out, types.UID(name[strings.LastIndexByte(name, '_')+1:]))
		}
	}
	return out, nil
}

// removeLog removes the log of one container, and what was put aside of it. What it leaves behind goes with the MiniPod's directory.
func (l Layout) removeLog(pod *miniv1.MiniPod, c podplan.Container) {
	_ = stdio.Remove(l.logPath(pod, c.Name, c.Attempt))
}
