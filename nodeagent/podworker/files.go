package podworker

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

const (
	// resolvConf is the machine's resolver configuration, and stubbedResolvConf what it really is where systemd-resolved
	// puts itself in front, at an address that a MiniPod cannot reach.
	resolvConf        = "/etc/resolv.conf"
	stubbedResolvConf = "/run/systemd/resolve/resolv.conf"
)

// mountedFiles are the files of a MiniPod's directory and where its containers see them.
var mountedFiles = map[string]string{
	"hosts":       "/etc/hosts",
	"hostname":    "/etc/hostname",
	"resolv.conf": resolvConf,
}

// writeFiles writes the files that all containers of the MiniPod see. What is right already is left alone, because running
// containers may be reading it.
func (l Layout) writeFiles(pod *miniv1.MiniPod, podIP string) error {
	dir := l.podDir(pod.UID)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	resolver, err := hostResolver()
	if err != nil {
		return err
	}
	hostname := hostnameOf(pod)
	for name, content := range map[string][]byte{
		"hosts":       hostsFile(podIP, hostname),
		"hostname":    []byte(hostname + "\n"),
		"resolv.conf": resolver,
	} {
		if err := writeChanged(filepath.Join(dir, name), content); err != nil {
			return err
		}
	}
	return nil
}

// writeChanged keeps the inode, which is what containers have mounted.
func writeChanged(path string, content []byte) error {
	if there, err := os.ReadFile(path); err == nil && bytes.Equal(there, content) {
		return nil
	}
	return os.WriteFile(path, content, 0o644)
}

func hostsFile(podIP, hostname string) []byte {
	return fmt.Appendf(nil, `# Written by miniplane.
127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
fe00::0	ip6-localnet
fe00::0	ip6-mcastprefix
fe00::1	ip6-allnodes
fe00::2	ip6-allrouters
%s	%s
`, podIP, hostname)
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
	if onlyLoopback(content) {
		if real, err := os.ReadFile(stubbedResolvConf); err == nil {
			return real, nil
		}
	}
	return content, nil
}

// onlyLoopback tells whether all name servers are on the loopback interface.
func onlyLoopback(resolver []byte) bool {
	found := false
	for line := range strings.Lines(string(resolver)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if !strings.HasPrefix(fields[1], "127.") && fields[1] != "::1" {
			return false
		}
		found = true
	}
	return found
}

// mounts of the MiniPod's files, read-only where the whole file system is to be.
func (l Layout) mounts(uid types.UID, readOnly bool) []runtime.Mount {
	var out []runtime.Mount
	for _, name := range []string{"hostname", "hosts", "resolv.conf"} {
		out = append(out, runtime.Mount{HostPath: filepath.Join(l.podDir(uid), name), ContainerPath: mountedFiles[name], ReadOnly: readOnly})
	}
	return out
}

// removeFiles removes the files and the logs of a MiniPod.
func (l Layout) removeFiles(uid types.UID) error {
	logs, err := filepath.Glob(filepath.Join(l.logsDir(), "*_"+string(uid)))
	if err != nil {
		return err
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
	for _, dir := range []string{l.podsDir(), l.logsDir()} {
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

// removeLog removes the log of one container. What it leaves behind goes with the MiniPod's directory.
func (l Layout) removeLog(c runtime.Container) {
	labels := c.Labels
	dir := l.podLogDir(labels[runtime.LabelPodNamespace], labels[runtime.LabelPodName], types.UID(labels[runtime.LabelPodUID]))
	_ = os.Remove(filepath.Join(dir, labels[runtime.LabelContainer], labels[runtime.LabelAttempt]+".log"))
}
