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
