package podworker

import (
	"strings"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// Facts are what a container can learn about its MiniPod that is not in the spec.
type Facts struct {
	NodeName, HostIP, PodIP string
}

// environment is the container's env as NAME=value, with references to variables above it replaced, and the values by
// name for the replacement in command and args.
func environment(pod *miniv1.MiniPod, c *miniv1.Container, facts Facts) (env []string, values map[string]string) {
	values = make(map[string]string, len(c.Env))
	env = make([]string, 0, len(c.Env))
	for _, v := range c.Env {
		value := expand(v.Value, values)
		if v.ValueFrom != nil && v.ValueFrom.FieldRef != nil {
			value = field(pod, v.ValueFrom.FieldRef.FieldPath, facts)
		}
		values[v.Name] = value
		env = append(env, v.Name+"="+value)
	}
	return env, values
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
	case "status.hostIP":
		return facts.HostIP
	case "status.podIP":
		return facts.PodIP
	}
	return ""
}

// expandAll replaces references in each of the strings.
func expandAll(in []string, values map[string]string) []string {
	if len(in) == 0 {
		return nil
	}
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = expand(s, values)
	}
	return out
}

// expand replaces $(NAME) by the variable's value, by Kubernetes' rules: what names no known variable stays as it is, and
// $$ is a plain $, so that $$(NAME) is never replaced.
func expand(s string, values map[string]string) string {
	if !strings.Contains(s, "$") {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			out.WriteByte(s[i])
			continue
		}
		text, length := readReference(s[i+1:], values)
		out.WriteString(text)
		i += length
	}
	return out.String()
}

// readReference reads what follows a $: what it becomes, and how many bytes it takes.
func readReference(rest string, values map[string]string) (text string, length int) {
	switch rest[0] {
	case '$':
		return "$", 1
	case '(':
		end := strings.IndexByte(rest, ')')
		if end < 0 {
			return "$(", 1
		}
		if value, known := values[rest[1:end]]; known {
			return value, end + 1
		}
		return "$" + rest[:end+1], end + 1
	}
	return "$" + rest[:1], 1
}
