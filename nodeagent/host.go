package nodeagent

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	gort "runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// host is what the machine has.
type host struct {
	cpus   int
	memory int64 // bytes
	pids   int64 // processes and threads
	kernel string
	boot   string // another after each start
}

func readHost() (host, error) {
	memory, err := memoryTotal("/proc/meminfo")
	if err != nil {
		return host{}, err
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return host{}, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return host{}, err
	}
	pids, err := maxPIDs("/proc/sys/kernel")
	if err != nil {
		return host{}, err
	}
	return host{cpus: gort.NumCPU(), memory: memory, pids: pids, kernel: strings.TrimSpace(string(kernel)),
		boot: strings.TrimSpace(string(boot))}, nil
}

// maxPIDs is how many processes and threads the machine can have: what the numbers are enough for, or the memory.
func maxPIDs(sysctls string) (int64, error) {
	most := int64(math.MaxInt64)
	for _, name := range []string{"pid_max", "threads-max"} {
		text, err := os.ReadFile(filepath.Join(sysctls, name))
		if err != nil {
			return 0, err
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		most = min(most, n)
	}
	return most, nil
}

// memoryTotal reads MemTotal, in bytes.
func memoryTotal(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var kib int64
		if n, _ := fmt.Sscanf(lines.Text(), "MemTotal: %d kB", &kib); n == 1 {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("%s tells no MemTotal", path)
}

// capacity is the machine's cpu and memory, allocatable what of it the lane may promise.
func (h host) capacity(o *Options) (capacity, allocatable corev1.ResourceList) {
	capacity = corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewQuantity(int64(h.cpus), resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(h.memory, resource.BinarySI),
	}
	allocatable = capacity.DeepCopy()
	if !o.CPU.IsZero() {
		allocatable[corev1.ResourceCPU] = o.CPU
	}
	if !o.Memory.IsZero() {
		allocatable[corev1.ResourceMemory] = o.Memory
	}
	return capacity, allocatable
}

func (h host) info() miniv1.MiniNodeInfo {
	return miniv1.MiniNodeInfo{
		AgentVersion: Version, ReadsAsNode: Version, SpecLevel: miniv1.NewestSpecLevel, SpecLevelOf: Version, KernelVersion: h.kernel, BootID: h.boot,
		OperatingSystem: gort.GOOS, Architecture: gort.GOARCH,
	}
}

// readsRecursively tells whether the kernel can make a mount read-only with all that is mounted in it (Linux 5.12): then it looks for the one that is asked about.
func readsRecursively() bool {
	return errors.Is(unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}), unix.EBADF)
}

// serverFor is where MiniPods find the API server, as HOST:PORT, by the URL at which the agent does. Empty where that is this machine's own loopback.
func serverFor(server string) string {
	at, err := url.Parse(server)
	if err != nil || at.Hostname() == "" || at.Hostname() == "localhost" {
		return ""
	}
	if ip, err := netip.ParseAddr(at.Hostname()); err == nil && ip.IsLoopback() {
		return ""
	}
	return net.JoinHostPort(at.Hostname(), cmp.Or(at.Port(), "443"))
}
