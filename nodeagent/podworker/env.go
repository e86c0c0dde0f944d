package podworker

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/internal/resources"
	"miniplane.dev/miniplane/nodeagent/volumes"
)

// Facts are what a container can learn about its MiniPod that is not in the spec.
type Facts struct {
	NodeName, HostIP, PodIP string
	// APIServer is where clients of the cluster's API find it, as HOST:PORT; empty where that is not known.
	APIServer string
	// Node is what the node has for all its MiniPods: the limit of those that have none of their own.
	Node resources.Amounts
	// Files reads files that variables come from. Nil before the container is made: others may still write them, and what comes of them is left out.
	Files readEnvFile
}

// variables is an environment in the making. Values are by name, for the replacement of references, and those are replaced in what comes later.
type variables struct {
	list   []string // as NAME=value
	values map[string]string
	size   int // of the list
}

func (v *variables) set(name, value string) error {
	v.size += len(name) + len("=") + len(value)
	if err := fits(len(name)+len("=")+len(value), v.size); err != nil {
		return fmt.Errorf("variable %s: %w", name, err)
	}
	v.values[name] = value
	v.list = append(v.list, name+"="+value)
	return nil
}

// environment is the container's env as NAME=value, with references to variables above it replaced, and the values by
// name for the replacement in command and args. Where the API server is comes first, as in a native Pod, and what comes of ConfigMaps and Secrets as
// a whole next: what the spec says wins.
func environment(pod *miniv1.MiniPod, c *miniv1.Container, facts Facts, objects volumes.Objects) (env []string, values map[string]string, err error) {
	out := &variables{list: make([]string, 0, len(c.Env)), values: make(map[string]string, len(c.Env))}
	if host, port, err := net.SplitHostPort(facts.APIServer); err == nil {
		for _, v := range [][2]string{{"HOST", host}, {"PORT", port}, {"PORT_HTTPS", port}} {
			_ = out.set("KUBERNETES_SERVICE_"+v[0], v[1]) // which is short
		}
	}
	for i := range c.EnvFrom {
		if err := out.all(&c.EnvFrom[i], objects); err != nil {
			return nil, nil, err
		}
	}
	for i := range c.Env {
		v := &c.Env[i]
		value, found := "", true
		if v.ValueFrom == nil || v.Value != "" {
			value = expand(v.Value, out.values)
		} else if value, found, err = valueOf(pod, c, v.ValueFrom, facts, objects); err != nil {
			return nil, nil, fmt.Errorf("variable %s: %w", v.Name, err)
		}
		if !found {
			continue
		}
		if err := out.set(v.Name, value); err != nil {
			return nil, nil, err
		}
	}
	return out.list, out.values, nil
}

// all sets a variable for each key of an object.
func (v *variables) all(from *miniv1.EnvFromSource, objects volumes.Objects) error {
	data := map[string]string{}
	switch {
	case from.ConfigMapRef != nil:
		found, err := objects.ConfigMap(from.ConfigMapRef.Name, from.ConfigMapRef.Optional)
		if err != nil {
			return err
		}
		if found != nil {
			data = found.Data
		}
	case from.SecretRef != nil:
		found, err := objects.Secret(from.SecretRef.Name, from.SecretRef.Optional)
		if err != nil {
			return err
		}
		if found != nil {
			for key, value := range found.Data {
				data[key] = string(value)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if err := v.set(from.Prefix+key, data[key]); err != nil {
			return err
		}
	}
	return nil
}

// valueOf is the value of one variable; false where there is none, and need not be.
func valueOf(pod *miniv1.MiniPod, c *miniv1.Container, from *miniv1.EnvVarSource, facts Facts, objects volumes.Objects) (string, bool, error) {
	switch {
	case from.FieldRef != nil:
		return field(pod, from.FieldRef.FieldPath, facts), true, nil
	case from.ResourceFieldRef != nil:
		value, err := amount(pod, c, from.ResourceFieldRef, facts.Node)
		return value, true, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		found, err := objects.ConfigMap(ref.Name, ref.Optional)
		if found == nil {
			return "", false, err
		}
		value, ok := found.Data[ref.Key]
		return value, ok, needed("configmap", ref.Name, ref.Key, ok, ref.Optional)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		found, err := objects.Secret(ref.Name, ref.Optional)
		if found == nil {
			return "", false, err
		}
		value, ok := found.Data[ref.Key]
		return string(value), ok, needed("secret", ref.Name, ref.Key, ok, ref.Optional)
	case from.FileKeyRef != nil:
		return fileValue(from.FileKeyRef, facts.Files)
	}
	return "", false, fmt.Errorf("valueFrom names nothing that the value could come from")
}

// needed is the error of a key that is not there and has to be.
func needed(kind, name, key string, there bool, optional *bool) error {
	if there || isTrue(optional) {
		return nil
	}
	return &volumes.Missing{Kind: kind, Name: name, Key: key}
}

// field is the value of a field of the MiniPod. The API accepts no others.
func field(pod *miniv1.MiniPod, path string, facts Facts) string {
	switch path {
	case "metadata.name":
		return pod.Name
	case "metadata.namespace":
		return pod.Namespace
	case "metadata.uid":
		return string(pod.UID)
	case "spec.nodeName":
		return facts.NodeName
	case "status.hostIP", "status.hostIPs":
		return facts.HostIP
	case "status.podIP", "status.podIPs":
		return facts.PodIP
	}
	if key, ok := keyOf(path, "metadata.labels"); ok {
		return pod.Labels[key]
	}
	if key, ok := keyOf(path, "metadata.annotations"); ok {
		return pod.Annotations[key]
	}
	return ""
}

// keyOf is KEY where path is FIELD['KEY'].
func keyOf(path, field string) (string, bool) {
	key, ok := strings.CutPrefix(path, field+"['")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(key, "']")
}

// amount is what a container asks for, or may use, in units of the divisor and rounded up. A limit that is not given is all of the node's.
func amount(pod *miniv1.MiniPod, own *miniv1.Container, ref *miniv1.ResourceFieldSelector, node resources.Amounts) (string, error) {
	c := own
	if ref.ContainerName != "" {
		if c = podplan.ContainerNamed(pod, ref.ContainerName); c == nil {
			return "", fmt.Errorf("resourceFieldRef: there is no container %q", ref.ContainerName)
		}
	}
	kind, name, _ := strings.Cut(ref.Resource, ".")
	amounts := resources.ContainerRequests(c)
	if kind == "limits" {
		amounts = resources.ContainerLimits(c)
		if amounts.MilliCPU == 0 {
			amounts.MilliCPU = node.MilliCPU
		}
		if amounts.MemoryBytes == 0 {
			amounts.MemoryBytes = node.MemoryBytes
		}
	}
	if corev1.ResourceName(name) == corev1.ResourceCPU {
		return divided(amounts.MilliCPU, unit(ref.Divisor, resources.Milli, 1000)), nil
	}
	return divided(amounts.MemoryBytes, unit(ref.Divisor, resources.Whole, 1)), nil
}

// unit is a divisor as a whole number; one that is not given, or none, is 1.
func unit(divisor resource.Quantity, as func(resource.Quantity) int64, one int64) int64 {
	if n := as(divisor); n > 0 {
		return n
	}
	return one
}

func divided(n, by int64) string {
	out := n / by
	if n%by > 0 {
		out++
	}
	return fmt.Sprint(out)
}
