package v1alpha1

import (
	"iter"

	corev1 "k8s.io/api/core/v1"
)

// ContainerKind is what a container is to its MiniPod: when it starts, when it ends, and who waits for it.
type ContainerKind string

// Kinds of containers.
const (
	// ContainerInit runs to its end before what comes after it starts.
	ContainerInit ContainerKind = "Init"
	// ContainerSidecar is an init container that goes on: it starts before what comes after it, and ends after that.
	ContainerSidecar ContainerKind = "Sidecar"
	// ContainerMain is one of spec.containers. They start together, after all others.
	ContainerMain ContainerKind = "Main"
)

// Lasts tells whether containers of the kind run as long as the MiniPod does. Only those can be reached by others, and take their
// resources beside all that follow.
func (k ContainerKind) Lasts() bool { return k == ContainerSidecar || k == ContainerMain }

// AllContainers are the containers of the spec, of every kind, in the order in which they start. Whoever wants only some of them asks
// for their kind: what is read from one list of the spec would miss those of the others.
func (s *MiniPodSpec) AllContainers() iter.Seq2[ContainerKind, *Container] {
	return func(yield func(ContainerKind, *Container) bool) {
		for i := range s.InitContainers {
			if !yield(kindOfInit(&s.InitContainers[i]), &s.InitContainers[i]) {
				return
			}
		}
		for i := range s.Containers {
			if !yield(ContainerMain, &s.Containers[i]) {
				return
			}
		}
	}
}

// HostPort is the port of the node that a container's port is; 0 if it is none. In the node's network each is.
func (s *MiniPodSpec) HostPort(p *ContainerPort) int32 {
	if p.HostPort == 0 && s.HostNetwork {
		return p.ContainerPort
	}
	return p.HostPort
}

func kindOfInit(c *Container) ContainerKind {
	if c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
		return ContainerSidecar
	}
	return ContainerInit
}

// ProbeKind is what a probe finds out.
type ProbeKind string

// Kinds of probes.
const (
	ProbeStartup   ProbeKind = "startup"
	ProbeReadiness ProbeKind = "readiness"
	ProbeLiveness  ProbeKind = "liveness"
)

// Probes are those that the container has, the startupProbe first, for which the others wait.
func (c *Container) Probes() iter.Seq2[ProbeKind, *Probe] {
	return func(yield func(ProbeKind, *Probe) bool) {
		_ = (c.StartupProbe == nil || yield(ProbeStartup, c.StartupProbe)) &&
			(c.ReadinessProbe == nil || yield(ProbeReadiness, c.ReadinessProbe)) &&
			(c.LivenessProbe == nil || yield(ProbeLiveness, c.LivenessProbe))
	}
}

// HasProbes tells whether the container is asked how it is.
func (c *Container) HasProbes() bool {
	return c.LivenessProbe != nil || c.ReadinessProbe != nil || c.StartupProbe != nil
}
