package main

import (
	"fmt"
	"slices"
	"strings"
)

// header marks what this program wrote.
const header = "{{- /* Generated from config/ by hack/chart: change config/ and run `make generate`. */}}\n"

// systemNamespace is where everything lives. The programs and the admission policies know it by this name, so the chart
// refuses another one (templates/checks.yaml) instead of taking it from helm.
const (
	systemNamespace = "miniplane-system"
	nodesNamespace  = "miniplane-nodes" // of accounts; nothing runs there
)

// fileOf says which template a kind goes to; kinds that are not listed get one of their own.
var fileOf = map[string]string{
	"ValidatingAdmissionPolicy":        "policy",
	"ValidatingAdmissionPolicyBinding": "policy",
	"FlowSchema":                       "flow",
	"PriorityLevelConfiguration":       "flow",
	"Namespace":                        "rbac",
	"ServiceAccount":                   "rbac",
	"ClusterRole":                      "rbac",
	"ClusterRoleBinding":               "rbac",
	"Role":                             "rbac",
	"RoleBinding":                      "rbac",
	"Deployment":                       "manager",
	"PodDisruptionBudget":              "manager",
	"DaemonSet":                        "agent",
	"Job":                              "uninstall",
}

// chart is what is derived.
type chart struct {
	templates
	defaults defaults
	files    map[string]string
}

// derive makes the generated files of the chart, by their names in it, from what is installed and from what helm runs before
// it uninstalls.
func derive(installed, hooks []object) (map[string][]byte, error) {
	c := &chart{defaults: defaults{}, files: map[string]string{}}
	for _, hook := range hooks {
		annotations := ensure(ensure(hook, "metadata"), "annotations")
		annotations["helm.sh/hook"] = "pre-delete"
		annotations["helm.sh/hook-delete-policy"] = "before-hook-creation,hook-succeeded"
	}
	found := map[string]bool{}
	for _, o := range slices.Concat(installed, hooks) {
		found[describe(o)] = true
		if err := c.add(o); err != nil {
			return nil, fmt.Errorf("%s: %w", describe(o), err)
		}
	}
	for _, w := range workloads {
		if !found[w.of] {
			return nil, fmt.Errorf("there is no %s, which values are for: adapt the table in hack/chart/knobs.go", w.of)
		}
	}
	values, err := c.defaults.valuesFile()
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{"values.yaml": values}
	for name, content := range c.files {
		out[name] = []byte(header + content)
	}
	return out, nil
}

// add turns an object into a template.
func (c *chart) add(o object) error {
	condition := ""
	switch w := slices.IndexFunc(workloads, func(w workload) bool { return w.of == describe(o) }); {
	case kind(o) == "Namespace" && name(o) == systemNamespace:
		return c.namespace(o)
	case kind(o) == "Namespace" && name(o) != nodesNamespace:
		return fmt.Errorf("is a second namespace: helm installs into one, %s; nodes' accounts are in %s", systemNamespace, nodesNamespace)
	case kind(o) == "CustomResourceDefinition":
		condition = ".Values.crds.install"
		ensure(ensure(o, "metadata"), "annotations")["__keep"] = c.token(entry(".Values.crds.keep", "helm.sh/resource-policy: keep"))
	case kind(o) == "PodDisruptionBudget":
		condition = "and .Values.manager.podDisruptionBudget.enabled (gt (int .Values.manager.replicas) 1)"
	case kind(o) == "FlowSchema" || kind(o) == "PriorityLevelConfiguration":
		condition = ".Values.priorityAndFairness.enabled"
	case w >= 0:
		if err := c.workload(workloads[w], o); err != nil {
			return err
		}
	case runsContainers(o):
		return fmt.Errorf("runs containers, and no value says with which image: add it to workloads in hack/chart/knobs.go")
	}
	if err := c.label(o); err != nil {
		return err
	}
	text, err := c.text(o)
	if err != nil {
		return err
	}
	text = "---\n" + text
	if condition != "" {
		text = "{{- if " + condition + " }}\n" + text + "{{- end }}\n"
	}
	c.files[file(o)] += text
	return nil
}

// namespace leaves the Namespace to helm, which makes the one it installs into. Labels that let privileged Pods run there are
// kept for the notes, because helm cannot set them.
func (c *chart) namespace(o object) error {
	var words []string
	for key, value := range child(o, "metadata", "labels") {
		if strings.HasPrefix(key, "pod-security.kubernetes.io/") {
			words = append(words, key+"="+text(value))
		}
	}
	slices.Sort(words)
	c.files["templates/_namespace.tpl"] = "{{- define \"miniplane.namespaceLabels\" }}" + strings.Join(words, " ") + "{{ end }}\n"
	return nil
}

// chartLabels are those that templates/_helpers.tpl adds to every object.
var chartLabels = []string{"app.kubernetes.io/managed-by", "app.kubernetes.io/instance", "app.kubernetes.io/version", "helm.sh/chart"}

func (c *chart) label(o object) error {
	labels := ensure(ensure(o, "metadata"), "labels")
	for _, label := range chartLabels {
		if _, ok := labels[label]; ok {
			return fmt.Errorf("has the label %s, which the chart sets itself", label)
		}
	}
	labels["__labels"] = c.token(entries("miniplane.labels"))
	return nil
}

func file(o object) string {
	if kind(o) == "CustomResourceDefinition" {
		plural, _, _ := strings.Cut(name(o), ".")
		return "templates/crds/" + plural + ".yaml"
	}
	if file := fileOf[kind(o)]; file != "" {
		return "templates/" + file + ".yaml"
	}
	return "templates/" + strings.ToLower(kind(o)) + ".yaml"
}
