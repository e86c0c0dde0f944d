package podworker

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

// inProc are the files of /proc on which runtimes let something else be mounted.
var inProc = []string{"/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps", "/proc/uptime", "/proc/loadavg", "/proc/slabinfo", "/proc/net/dev",
	"/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled"}

// checkPlace tells where a volume cannot be: a runtime refuses these places as well, later and in words about something else. The node's own /proc can be mounted at its
// place.
func checkPlace(mountPath string, hostPath bool) error {
	place := path.Join("/", mountPath)
	switch {
	case place == "/":
		return fmt.Errorf("volumeMount %s: a volume cannot be the root of the container's file system", mountPath)
	case place == "/proc" && !hostPath, strings.HasPrefix(place, "/proc/") && !slices.Contains(inProc, place):
		return fmt.Errorf("volumeMount %s: /proc is the kernel's, and a volume cannot be there; mount it elsewhere", mountPath)
	}
	return nil
}

var propagations = map[corev1.MountPropagationMode]runtime.Propagation{corev1.MountPropagationNone: runtime.PropagationNone,
	corev1.MountPropagationHostToContainer: runtime.PropagationIn, corev1.MountPropagationBidirectional: runtime.PropagationBoth}

// recursiveReadOnly tells whether also what is mounted in a volume is to be read-only, if the node can do that.
func recursiveReadOnly(mount *miniv1.VolumeMount, can bool) (bool, error) {
	switch mode := ptr.Deref(mount.RecursiveReadOnly, corev1.RecursiveReadOnlyDisabled); {
	case mode == corev1.RecursiveReadOnlyEnabled && !can:
		return false, errors.New("recursiveReadOnly Enabled needs Linux 5.12 or newer on the node; use IfPossible, or another node")
	case mode != corev1.RecursiveReadOnlyDisabled:
		return can, nil
	}
	return false, nil
}

// volumeMounts are where the runtime finds the volumes of a container. Paths in them are looked up now.
func (p *Pool) volumeMounts(pod *miniv1.MiniPod, c *miniv1.Container, values map[string]string) ([]runtime.Mount, error) {
	var out []runtime.Mount
	for i := range c.VolumeMounts {
		mount := &c.VolumeMounts[i]
		v := volumeNamed(pod, mount.Name)
		if v == nil {
			return nil, fmt.Errorf("volumeMount %s: there is no volume %q", mount.MountPath, mount.Name)
		}
		w, err := p.wantedVolume(pod, v)
		if err != nil {
			return nil, err
		}
		path, err := subPathOf(mount, values)
		if err != nil {
			return nil, fmt.Errorf("volumeMount %s: %w", mount.MountPath, err)
		}
		if err := checkPlace(mount.MountPath, w.Host != nil); err != nil {
			return nil, err
		}
		propagation := propagations[ptr.Deref(mount.MountPropagation, corev1.MountPropagationNone)]
		if w.Host != nil && path != "" && propagation == runtime.PropagationBoth {
			return nil, fmt.Errorf("volumeMount %s: mountPropagation Bidirectional cannot be had with a subPath of a hostPath; name the whole path in a volume of its own", mount.MountPath)
		}
		w.Follow = propagation == runtime.PropagationIn
		place, err := p.Volumes.Mount(pod.UID, w, c.Name, i, path)
		if err != nil {
			return nil, err
		}
		recursive, err := recursiveReadOnly(mount, p.Machine.RecursiveReadOnly)
		if err != nil {
			return nil, fmt.Errorf("volumeMount %s: %w", mount.MountPath, err)
		}
		out = append(out, runtime.Mount{HostPath: place, ContainerPath: mount.MountPath, ReadOnly: mount.ReadOnly || w.Files != nil || w.Image,
			NoExec: w.Image, Recursive: recursive, Propagation: propagation})
	}
	return out, nil
}

func volumeNamed(pod *miniv1.MiniPod, name string) *miniv1.Volume {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Name == name {
			return &pod.Spec.Volumes[i]
		}
	}
	return nil
}

// subPathOf is the path in the volume; an expression must name no variable that is not there.
func subPathOf(mount *miniv1.VolumeMount, values map[string]string) (string, error) {
	if mount.SubPathExpr == "" {
		return mount.SubPath, nil
	}
	unknown := ""
	path := expandWith(mount.SubPathExpr, func(name string) (string, bool) {
		value, known := values[name]
		if !known {
			unknown = name
		}
		return value, known
	})
	switch {
	case unknown != "":
		return "", fmt.Errorf("subPathExpr %q: there is no variable %s", mount.SubPathExpr, unknown)
	case path == "":
		return "", fmt.Errorf("subPathExpr %q becomes nothing", mount.SubPathExpr)
	}
	return path, nil
}
