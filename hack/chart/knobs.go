package main

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// A workload is an object with Pods, and the places in it that values change.
type workload struct {
	of        string // kind and name
	container string // the one that resources and arguments are for
	knobs     []knob
	flags     []flagKnob
	more      string // value with more arguments
}

// A knob is a place whose value in config/ becomes the default of a value.
type knob struct {
	in, key  string // in is a path from the object, or "pod" or "container" with a path from there
	value    string
	how      func(value string) insert
	optional bool // config/ need not have it
}

// A flagKnob is a flag of the program: given when the value is not empty, and left to the program's own default otherwise.
type flagKnob struct{ flag, value string }

// workloads is the table of what values can change. The agent's volume of containerd is in socket.
var workloads = []workload{
	{
		of: "Deployment miniplane-manager", container: "manager",
		knobs: append(podKnobs("manager"), knob{in: "spec", key: "replicas", value: "manager.replicas", how: plain}),
		flags: []flagKnob{
			{"pod-cidr", "podCIDR"}, {"service-cidr", "serviceCIDR"},
			{"node-port-range", "nodePortRange"}, {"node-cidr-mask-size", "nodeCIDRMaskSize"},
			{"agent-absence", "manager.agentAbsence"},
			{"node-eviction-rate", "manager.nodeEvictionRate"}, {"secondary-node-eviction-rate", "manager.secondaryNodeEvictionRate"},
			{"unhealthy-zone-threshold", "manager.unhealthyZoneThreshold"}, {"large-cluster-size-threshold", "manager.largeClusterSizeThreshold"},
		},
		more: "manager.extraArgs",
	},
	{
		of: "DaemonSet miniplane-agent", container: "agent",
		knobs: append(podKnobs("agent"),
			knob{in: "spec.updateStrategy.rollingUpdate", key: "maxUnavailable", value: "agent.maxUnavailable", how: plain}),
		flags: []flagKnob{{"pod-cidr", "podCIDR"}, {"service-cidr", "serviceCIDR"}, {"max-pods", "agent.maxPods"}, {"encapsulation", "agent.encapsulation"},
			{"cluster-dns", "agent.clusterDNS"}, {"cluster-domain", "agent.clusterDomain"}},
		more: "agent.extraArgs",
	},
	{
		of: "Job miniplane-uninstall", container: "uninstall",
		knobs: []knob{
			{in: "pod", key: "imagePullSecrets", value: "imagePullSecrets", how: block, optional: true},
			{in: "pod", key: "nodeSelector", value: "manager.nodeSelector", how: block, optional: true},
		},
	},
}

// podKnobs are those that both programs have.
func podKnobs(program string) []knob {
	return []knob{
		{in: "pod", key: "imagePullSecrets", value: "imagePullSecrets", how: block, optional: true},
		{in: "pod", key: "priorityClassName", value: program + ".priorityClassName", how: scalar, optional: true},
		{in: "pod", key: "nodeSelector", value: program + ".nodeSelector", how: block, optional: true},
		{in: "pod", key: "tolerations", value: program + ".tolerations", how: block, optional: true},
		{in: "pod", key: "affinity", value: program + ".affinity", how: block, optional: true},
		{in: "container", key: "resources", value: program + ".resources", how: block},
	}
}

// plain is a value that is always there.
func plain(value string) insert { return inline(".Values." + value) }

func (c *chart) workload(w workload, o object) error {
	pod := child(o, "spec", "template", "spec")
	container, err := named(pod, "containers", w.container)
	if err != nil {
		return err
	}
	for _, k := range w.knobs {
		if err := c.knob(k, o, pod, container); err != nil {
			return err
		}
	}
	if err := c.images(pod); err != nil {
		return err
	}
	args, _ := container["args"].([]any)
	args = slices.Clone(args)
	for _, k := range w.flags {
		if args, err = c.flag(k, args); err != nil {
			return err
		}
	}
	if w.container == "agent" {
		if args, err = c.socket(pod, container, args); err != nil {
			return err
		}
	}
	if w.more != "" {
		args = append(args, c.token(more(w.more)))
	}
	if len(args) > 0 {
		container["args"] = args
	}
	return nil
}

func (c *chart) knob(k knob, o, pod, container object) error {
	var parent object
	switch k.in {
	case "pod":
		parent = pod
	case "container":
		parent = container
	default:
		parent = child(o, strings.Split(k.in, ".")...)
	}
	now, ok := parent[k.key]
	if parent == nil || !ok && !k.optional {
		return fmt.Errorf("has no %s.%s, which the value %s is for: adapt the table in hack/chart/knobs.go", k.in, k.key, k.value)
	}
	parent[k.key] = c.token(k.how(k.value))
	if !ok {
		return nil
	}
	return c.defaults.set(k.value, now)
}

// images gives every container of a Pod the image of the values.
func (c *chart) images(pod object) error {
	for _, list := range []string{"initContainers", "containers"} {
		for _, container := range items(pod, list) {
			repository, tag, err := splitImage(text(container["image"]))
			if err != nil {
				return err
			}
			if err := c.defaults.set("image.repository", repository); err != nil {
				return err
			}
			if err := c.defaults.set("image.tag", tag); err != nil {
				return err
			}
			container["image"] = c.token(inline(`include "miniplane.image" . | quote`))
			if policy, ok := container["imagePullPolicy"]; ok {
				if err := c.defaults.set("image.pullPolicy", policy); err != nil {
					return err
				}
			}
			container["imagePullPolicy"] = c.token(plain("image.pullPolicy"))
		}
	}
	return nil
}

// splitImage takes an image's name apart: the repository, and the tag or the digest.
func splitImage(image string) (repository, tag string, err error) {
	if repository, digest, ok := strings.Cut(image, "@"); ok {
		return repository, digest, nil
	}
	at := strings.LastIndex(image, ":")
	if at <= strings.LastIndex(image, "/") {
		return "", "", fmt.Errorf("the image %q has neither tag nor digest", image)
	}
	return image[:at], image[at+1:], nil
}

// flag makes an argument follow a value. An argument that config/ gives becomes the default.
func (c *chart) flag(k flagKnob, args []any) ([]any, error) {
	token := c.token(flag(".Values."+k.value, k.flag, ".Values."+k.value))
	at := slices.IndexFunc(args, func(arg any) bool { return flagOf(arg) == k.flag })
	if at < 0 {
		return append(args, token), nil
	}
	_, value, ok := strings.Cut(text(args[at]), "=")
	if !ok || strings.Contains(value, "$(") {
		return nil, fmt.Errorf("the argument %s is not of the form --%s=value, so that the value %s cannot stand for it", args[at], k.flag, k.value)
	}
	args[at] = token
	var typed any // a number, if it is one
	if err := yaml.Unmarshal([]byte(value), &typed); err != nil {
		return nil, err
	}
	return args, c.defaults.set(k.value, typed)
}

// flagOf is the name of the flag that an argument sets.
func flagOf(arg any) string {
	name, _, _ := strings.Cut(strings.TrimLeft(text(arg), "-"), "=")
	return name
}

// ownSocket is where the agent looks for containerd by itself.
const ownSocket = "/run/containerd/containerd.sock"

// socket makes the agent's mount of containerd's directory, and the argument that names the socket, follow one value.
func (c *chart) socket(pod, container object, args []any) ([]any, error) {
	volume, err := named(pod, "volumes", "containerd")
	if err != nil {
		return nil, err
	}
	mount, err := named(container, "volumeMounts", "containerd")
	if err != nil {
		return nil, err
	}
	host := child(volume, "hostPath")
	dir := text(host["path"])
	if dir == "" || dir != mount["mountPath"] {
		return nil, fmt.Errorf("the volume containerd is not mounted at the path that it has on the node: the value agent.containerdSocket needs that")
	}
	standard := path.Join(dir, path.Base(ownSocket))
	for at, arg := range args {
		if flagOf(arg) == "containerd-address" {
			_, standard, _ = strings.Cut(text(arg), "=")
			args = slices.Delete(args, at, at+1)
			break
		}
	}
	directory := c.token(inline("dir .Values.agent.containerdSocket"))
	host["path"], mount["mountPath"] = directory, directory
	condition := fmt.Sprintf("ne .Values.agent.containerdSocket %q", ownSocket)
	args = append(args, c.token(flag(condition, "containerd-address", ".Values.agent.containerdSocket")))
	return args, c.defaults.set("agent.containerdSocket", standard)
}

// known lists the values that got a default from config/.
func (d defaults) known() []string { return slices.Sorted(maps.Keys(d)) }
