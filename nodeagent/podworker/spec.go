package podworker

import (
	"fmt"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/internal/resources"
	"miniplane.dev/miniplane/nodeagent/names"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/sandbox"
)

// cpuPeriod is the span, in microseconds, in which a CPU limit is counted.
const cpuPeriod = 100_000

// Scores of the kernel's out-of-memory killer, as a native Pod's: who promised nothing goes first.
const (
	oomGuaranteed = -997
	oomBestEffort = 1000
)

// Machine is what containers' settings depend on.
type Machine struct {
	NodeName, NodeIP string
	// MemoryBytes of the machine.
	MemoryBytes int64
	// Node is what the node has for all its MiniPods together.
	Node resources.Amounts
	// RecursiveReadOnly tells whether its kernel can make a mount read-only with all that is mounted in it.
	RecursiveReadOnly bool
	// PodMaxPIDs is how many processes and threads one MiniPod may have; 0 is no limit.
	PodMaxPIDs int64
	// Cluster is what is known of the names of the cluster.
	Cluster names.Cluster
	// APIServer is where MiniPods find the cluster's API, as HOST:PORT; empty where they cannot.
	APIServer string
}

// containerSpec is what the runtime is told about one container, but for its volumes; and the values of its variables.
func (p *Pool) containerSpec(pod *miniv1.MiniPod, o *view, a podplan.Action) (spec runtime.ContainerSpec, values map[string]string, err error) {
	l, m := p.Layout, p.Machine
	c := podplan.ContainerNamed(pod, a.Container)
	id := containerID(pod.UID, c.Name, a.Attempt)
	security := securityOf(pod, c)
	facts := Facts{NodeName: m.NodeName, HostIP: m.NodeIP, PodIP: o.Address.String(), Node: m.Node, APIServer: m.APIServer, Files: p.envFiles(pod)}
	env, values, err := environment(pod, c, facts, o.objects[c.Name])
	if err != nil {
		return spec, nil, fmt.Errorf("%w: %w", runtime.ErrSettings, err)
	}
	command, args, err := commandOf(c, values)
	if err != nil {
		return spec, nil, fmt.Errorf("%w: %w", runtime.ErrSettings, err)
	}
	hostname, err := names.Kernel(pod, m.Cluster)
	if err != nil {
		return spec, nil, fmt.Errorf("%w: %w", runtime.ErrSettings, err)
	}
	return runtime.ContainerSpec{
		ID:         id,
		Group:      string(pod.UID),
		Labels:     labelsFor(pod, c, o.SandboxID, a.Attempt, a.Crashes),
		Image:      c.Image,
		ImageID:    o.Images[c.Name].ID,
		Command:    command,
		Args:       args,
		WorkingDir: c.WorkingDir,
		Env:        env,
		Hostname:   hostname,
		Namespaces: namespacesOf(pod, o.box),
		Mounts:     mountsOf(pod, o.box, c, security.ReadOnlyRoot),
		CgroupPath: filepath.Join(l.podCgroup(pod.UID), id),
		Resources:  resourcesOf(pod, c, m.MemoryBytes),
		Security:   security,
		StopSignal: stopSignalOf(c),
		LogPath:    l.logPath(pod, c.Name, a.Attempt),
	}, values, nil
}

// commandOf is what a container executes, with references to its variables replaced. What its probes execute must be possible too.
func commandOf(c *miniv1.Container, values map[string]string) (command, args []string, err error) {
	if command, err = expandAll(c.Command, values); err != nil {
		return nil, nil, fmt.Errorf("command: %w", err)
	}
	if args, err = expandAll(c.Args, values); err != nil {
		return nil, nil, fmt.Errorf("args: %w", err)
	}
	_, err = forProbes(c)
	return command, args, err
}

// mountsOf are the mounts that every container has, but for those at whose places it has a volume.
func mountsOf(pod *miniv1.MiniPod, box *sandbox.Sandbox, c *miniv1.Container, readOnly bool) []runtime.Mount {
	return slices.DeleteFunc(append(fileMounts(box.Files, readOnly), sharedMemory(pod, box)...), func(m runtime.Mount) bool {
		return slices.ContainsFunc(c.VolumeMounts, func(v miniv1.VolumeMount) bool { return filepath.Clean(v.MountPath) == m.ContainerPath })
	})
}

// namespacesOf are those that a container joins.
func namespacesOf(pod *miniv1.MiniPod, box *sandbox.Sandbox) runtime.Namespaces {
	out := box.Namespaces
	if pod.Spec.HostPID {
		out.PID = runtime.HostPID
	}
	return out
}

// sharedMemory is the mount of what all containers of the MiniPod share as /dev/shm: the machine's where they share its IPC.
func sharedMemory(pod *miniv1.MiniPod, box *sandbox.Sandbox) []runtime.Mount {
	if pod.Spec.HostIPC {
		return []runtime.Mount{{HostPath: "/dev/shm", ContainerPath: "/dev/shm"}}
	}
	if box.SharedMemory == "" {
		return nil
	}
	return []runtime.Mount{{HostPath: box.SharedMemory, ContainerPath: "/dev/shm"}}
}

// resourcesOf turns requests and limits into the kernel's settings.
func resourcesOf(pod *miniv1.MiniPod, c *miniv1.Container, machineMemory int64) runtime.Resources {
	request, limit := resources.ContainerRequests(c), resources.ContainerLimits(c)
	out := runtime.Resources{
		CPUShares:   uint64(min(262144, max(2, request.MilliCPU*1024/1000))),
		MemoryLimit: limit.MemoryBytes,
		OOMScoreAdj: oomScore(resources.QoS(&pod.Spec), request.MemoryBytes, machineMemory),
	}
	if limit.MilliCPU > 0 {
		out.CPUPeriod, out.CPUQuota = cpuPeriod, max(1000, limit.MilliCPU*cpuPeriod/1000)
	}
	return out
}

// oomScore is by quality of service: guaranteed last, best effort first, between them by the share of the machine's memory
// that was asked for.
func oomScore(class corev1.PodQOSClass, asked, machineMemory int64) int {
	switch {
	case class == corev1.PodQOSGuaranteed:
		return oomGuaranteed
	case class == corev1.PodQOSBestEffort || machineMemory <= 0:
		return oomBestEffort
	}
	share := asked / max(1, machineMemory/1000)
	return int(max(1000+oomGuaranteed, min(oomBestEffort-1, 1000-share)))
}
