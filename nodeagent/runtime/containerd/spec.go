package containerd

import (
	"path"
	"slices"
	"strings"

	"github.com/containerd/cgroups/v3"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

var maskedPaths = []string{
	"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
	"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
}

var readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

var basicMounts = []specs.Mount{
	{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
	{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
	{Destination: "/dev/pts", Type: "devpts", Source: "devpts",
		Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
	{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
	{Destination: "/dev/shm", Type: "tmpfs", Source: "shm",
		Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
	{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
	{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
		Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
}

// Annotations of the OCI spec.
const (
	// annotationGroup makes the containers of one group share a shim.
	annotationGroup = "io.containerd.runc.v2.group"
	annotationLog   = "miniplane.dev/log-path"
)

// ociSpec is what runc is to do for a container.
func ociSpec(spec runtime.ContainerSpec, image *imageFacts, may rights, oomMin int) *specs.Spec {
	namespaces := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	if spec.Namespaces.PID != runtime.HostPID {
		namespaces = append(namespaces, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: spec.Namespaces.PID})
	}
	for _, joined := range []specs.LinuxNamespace{
		{Type: specs.NetworkNamespace, Path: spec.Namespaces.Net},
		{Type: specs.IPCNamespace, Path: spec.Namespaces.IPC},
		{Type: specs.UTSNamespace, Path: spec.Namespaces.UTS},
	} {
		if joined.Path != "" {
			namespaces = append(namespaces, joined)
		}
	}
	if cgroups.Mode() == cgroups.Unified && !spec.Security.Privileged {
		namespaces = append(namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	adj := max(spec.Resources.OOMScoreAdj, oomMin)
	out := &specs.Spec{
		Version: "1.1.0",
		Root:    &specs.Root{Path: "rootfs", Readonly: spec.Security.ReadOnlyRoot},
		Process: &specs.Process{
			Args: arguments(spec, image),
			Cwd:  workingDir(spec, image),
			Env:  environment(spec, image),
			User: may.user,
			Capabilities: &specs.LinuxCapabilities{
				Bounding: may.capabilities, Permitted: may.capabilities, Effective: effective(may),
			},
			NoNewPrivileges: spec.Security.NoNewPrivileges,
			OOMScoreAdj:     &adj,
		},
		Mounts:      mounts(spec.Mounts),
		Annotations: map[string]string{annotationGroup: spec.Group, annotationLog: spec.LogPath},
		Linux: &specs.Linux{
			CgroupsPath: spec.CgroupPath, Namespaces: namespaces, Resources: resources(spec.Resources),
			Seccomp: may.seccomp, MaskedPaths: maskedPaths, ReadonlyPaths: readonlyPaths,
			RootfsPropagation: propagation(spec.Mounts),
		},
	}
	if cgroups.Mode() == cgroups.Unified {
		out.Linux.Resources.Unified = unified
	}
	if spec.Security.Privileged {
		openMachine(out, may.devices)
	}
	return out
}

// unified is for cgroup v2: where memory is not enough the whole container ends, and not one of its processes, of which the others
// may not know how to go on without it. The kubelet does the same for native containers. (v1 has no such thing.)
var unified = map[string]string{"memory.oom.group": "1"}

// openMachine takes away what keeps a container from the machine that it runs on.
func openMachine(out *specs.Spec, devices []specs.LinuxDevice) {
	out.Linux.MaskedPaths, out.Linux.ReadonlyPaths = nil, nil
	out.Linux.Devices = devices
	out.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	for i := range out.Mounts {
		if m := &out.Mounts[i]; m.Type == "sysfs" || m.Type == "cgroup" {
			m.Options = slices.Clone(m.Options)
			m.Options[slices.Index(m.Options, "ro")] = "rw"
		}
	}
}

// arguments follow core/v1: a command replaces both the image's entry point and its arguments.
func arguments(spec runtime.ContainerSpec, image *imageFacts) []string {
	command, args := spec.Command, spec.Args
	if len(command) == 0 {
		command = image.config.Entrypoint
		if len(args) == 0 {
			args = image.config.Cmd
		}
	}
	return slices.Concat(command, args)
}

func workingDir(spec runtime.ContainerSpec, image *imageFacts) string {
	for _, dir := range []string{spec.WorkingDir, image.config.WorkingDir} {
		if dir != "" {
			return path.Join("/", dir)
		}
	}
	return "/"
}

// environment is the image's with the container's on top; the last of a name wins, in the place of the first.
func environment(spec runtime.ContainerSpec, image *imageFacts) []string {
	out := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	place := map[string]int{"PATH": 0}
	if spec.Hostname != "" {
		place["HOSTNAME"] = len(out)
		out = append(out, "HOSTNAME="+spec.Hostname)
	}
	for _, entry := range slices.Concat(image.config.Env, spec.Env) {
		name, _, _ := strings.Cut(entry, "=")
		if i, ok := place[name]; ok {
			out[i] = entry
			continue
		}
		place[name] = len(out)
		out = append(out, entry)
	}
	return out
}

// effective capabilities are for root only, as execve would have it.
func effective(may rights) []string {
	if may.user.UID == 0 {
		return may.capabilities
	}
	return nil
}

// mounts are the basic ones, except those that the container brings itself, with parents before children.
func mounts(own []runtime.Mount) []specs.Mount {
	out := slices.Clone(basicMounts)
	for _, m := range own {
		destination := path.Clean(m.ContainerPath)
		out = slices.DeleteFunc(out, func(b specs.Mount) bool { return b.Destination == destination })
		options := []string{"rbind", propagations[m.Propagation], "rw"}
		switch {
		case m.ReadOnly && m.Recursive:
			options[2] = "rro"
		case m.ReadOnly:
			options[2] = "ro"
		}
		if m.NoExec {
			options = append(options, "noexec", "nosuid", "nodev")
		}
		out = append(out, specs.Mount{Destination: destination, Type: "bind", Source: m.HostPath, Options: options})
	}
	slices.SortStableFunc(out, func(a, b specs.Mount) int {
		return strings.Count(a.Destination, "/") - strings.Count(b.Destination, "/")
	})
	return out
}

var propagations = map[runtime.Propagation]string{runtime.PropagationNone: "rprivate", runtime.PropagationIn: "rslave", runtime.PropagationBoth: "rshared"}

// propagation is that of a container's root, which has to let through what any of its mounts does; empty where none does.
func propagation(own []runtime.Mount) string {
	out := ""
	for _, m := range own {
		switch m.Propagation {
		case runtime.PropagationBoth:
			return propagations[runtime.PropagationBoth]
		case runtime.PropagationIn:
			out = propagations[runtime.PropagationIn]
		}
	}
	return out
}

func resources(r runtime.Resources) *specs.LinuxResources {
	shares := max(r.CPUShares, 2)
	out := &specs.LinuxResources{
		CPU: &specs.LinuxCPU{Shares: &shares},
		// Nothing but the devices that every container has (null, zero, full, random, urandom, tty, pts), which runc allows.
		Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}},
	}
	if r.CPUQuota > 0 {
		period := r.CPUPeriod
		if period == 0 {
			period = 100_000
		}
		out.CPU.Quota, out.CPU.Period = &r.CPUQuota, &period
	}
	if r.MemoryLimit > 0 {
		// Swap is not an escape from the limit.
		out.Memory = &specs.LinuxMemory{Limit: &r.MemoryLimit, Swap: &r.MemoryLimit}
	}
	return out
}
