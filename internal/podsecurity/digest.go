package podsecurity

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// subject is the part of a MiniPod that the checks look at.
type subject struct {
	Annotations map[string]string          `json:"a,omitempty"`
	Pod         *miniv1.PodSecurityContext `json:"p,omitempty"`
	Volumes     []miniv1.Volume            `json:"v,omitempty"`
	Containers  []containerSubject         `json:"c,omitempty"`
	// Host namespaces.
	Network bool `json:"n,omitempty"`
	PID     bool `json:"i,omitempty"`
	IPC     bool `json:"x,omitempty"`
}

type containerSubject struct {
	Name      string                  `json:"n"`
	Security  *miniv1.SecurityContext `json:"s,omitempty"`
	HostPorts bool                    `json:"h,omitempty"`
	// Hosts that probes and hooks ask in place of the MiniPod.
	Hosts []string `json:"o,omitempty"`
}

// judged are the beginnings of annotations that old versions of the checks look at.
var judged = []string{
	corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix,
	corev1.SeccompPodAnnotationKey,
	corev1.SeccompContainerAnnotationKeyPrefix,
}

// Digest is equal for MiniPods that every policy answers alike, and short; empty for those that say nothing about security.
func Digest(pod *miniv1.MiniPod) string {
	var s subject
	for key, value := range pod.Annotations {
		for _, beginning := range judged {
			if strings.HasPrefix(key, beginning) {
				if s.Annotations == nil {
					s.Annotations = map[string]string{}
				}
				s.Annotations[key] = value
			}
		}
	}
	s.Pod, s.Volumes = pod.Spec.SecurityContext, pod.Spec.Volumes
	s.Network, s.PID, s.IPC = pod.Spec.HostNetwork, pod.Spec.HostPID, pod.Spec.HostIPC
	speaks := s.Network || s.PID || s.IPC || s.Annotations != nil || s.Pod != nil || s.Volumes != nil
	for _, c := range pod.Spec.AllContainers() {
		part := containerSubject{Name: c.Name, Security: c.SecurityContext, HostPorts: hasHostPorts(c), Hosts: hostsOf(c)}
		speaks = speaks || part.Security != nil || part.HostPorts || part.Hosts != nil
		s.Containers = append(s.Containers, part)
	}
	if !speaks {
		return ""
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err.Error() // cannot happen with these types, and would only keep the MiniPod in a class of its own
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

func hasHostPorts(c *miniv1.Container) bool {
	for i := range c.Ports {
		if c.Ports[i].HostPort != 0 {
			return true
		}
	}
	return false
}

// hostsOf are the hosts that a container's probes and hooks ask, each with who asks, and how.
func hostsOf(c *miniv1.Container) (out []string) {
	for kind, probe := range c.Probes() {
		switch {
		case probe.HTTPGet != nil && probe.HTTPGet.Host != "":
			out = append(out, string(kind)+" http "+probe.HTTPGet.Host)
		case probe.TCPSocket != nil && probe.TCPSocket.Host != "":
			out = append(out, string(kind)+" tcp "+probe.TCPSocket.Host)
		}
	}
	for _, kind := range []miniv1.HookKind{miniv1.HookPostStart, miniv1.HookPreStop} {
		if hook := c.Hook(kind); hook != nil && hook.HTTPGet != nil && hook.HTTPGet.Host != "" {
			out = append(out, string(kind)+" http "+hook.HTTPGet.Host)
		}
	}
	return out
}
