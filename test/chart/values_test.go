package chart

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	manager    = "Deployment/miniplane-manager"
	agent      = "DaemonSet/miniplane-agent"
	managerPod = manager + ".spec.template.spec"
	agentPod   = agent + ".spec.template.spec"
	managerArg = managerPod + ".containers[manager].args"
	hookPod    = "Job/miniplane-uninstall.spec.template.spec"
	agentArg   = agentPod + ".containers[agent].args"
)

// Each value changes what it says, and nothing else. In want, "+ …" is what comes after the default and "gone" what is not
// there any more.
func TestValues(t *testing.T) {
	for name, tc := range map[string]struct {
		values string
		want   map[string]string
	}{
		"image": {"image: {repository: registry.local/mini, tag: v1, pullPolicy: Always}", map[string]string{
			managerPod + ".containers[manager].image": "registry.local/mini:v1", managerPod + ".containers[manager].imagePullPolicy": "Always",
			agentPod + ".containers[agent].image": "registry.local/mini:v1", agentPod + ".containers[agent].imagePullPolicy": "Always",
			hookPod + ".containers[uninstall].image": "registry.local/mini:v1", hookPod + ".containers[uninstall].imagePullPolicy": "Always",
		}},
		"digest": {"image: {tag: 'sha256:abc'}", map[string]string{
			managerPod + ".containers[manager].image": "miniplane.dev/miniplane@sha256:abc",
			agentPod + ".containers[agent].image":     "miniplane.dev/miniplane@sha256:abc",
			hookPod + ".containers[uninstall].image":  "miniplane.dev/miniplane@sha256:abc",
		}},
		"pull secrets": {"imagePullSecrets: [{name: s}]", map[string]string{
			managerPod + ".imagePullSecrets[s].name": "s", agentPod + ".imagePullSecrets[s].name": "s", hookPod + ".imagePullSecrets[s].name": "s",
		}},
		"ranges reach both": {"{podCIDR: 10.64.0.0/12, serviceCIDR: 10.128.0.0/16}", map[string]string{
			managerArg: "+ --pod-cidr=10.64.0.0/12 --service-cidr=10.128.0.0/16",
			agentArg:   "+ --pod-cidr=10.64.0.0/12 --service-cidr=10.128.0.0/16",
		}},
		"node's share": {"nodeCIDRMaskSize: 24", map[string]string{managerArg: "+ --node-cidr-mask-size=24"}},
		"node ports":   {"nodePortRange: 31000-31999", map[string]string{managerArg: "+ --node-port-range=31000-31999"}},
		"silent nodes": {"manager: {agentAbsence: 10m, nodeEvictionRate: '0', secondaryNodeEvictionRate: '0.02', unhealthyZoneThreshold: '0.3', largeClusterSizeThreshold: '7'}", map[string]string{
			managerArg: "+ --agent-absence=10m --node-eviction-rate=0 --secondary-node-eviction-rate=0.02 --unhealthy-zone-threshold=0.3 --large-cluster-size-threshold=7",
		}},
		"manager": {"manager: {replicas: 3, resources: {requests: {cpu: 1}}, priorityClassName: x, nodeSelector: {a: b}, extraArgs: [--zap-log-level=1, --pod-eviction-wait=1m]}", map[string]string{
			manager + ".spec.replicas":                                 "3",
			managerPod + ".containers[manager].resources.requests.cpu": "1",
			managerPod + ".priorityClassName":                          "x",
			managerPod + ".nodeSelector.a":                             "b",
			hookPod + ".nodeSelector.a":                                "b",
			managerArg:                                                 "+ --zap-log-level=1 --pod-eviction-wait=1m",
		}},
		"manager anywhere": {"manager: {tolerations: [], priorityClassName: '', affinity: {podAntiAffinity: null}}", map[string]string{
			managerPod + ".priorityClassName":                                             "gone",
			managerPod + ".tolerations[0].key":                                            "gone",
			managerPod + ".tolerations[0].operator":                                       "gone",
			managerPod + ".tolerations[0].effect":                                         "gone",
			preferred + ".weight":                                                         "gone",
			preferred + ".podAffinityTerm.topologyKey":                                    "gone",
			preferred + ".podAffinityTerm.labelSelector.matchLabels." + app + "name":      "gone",
			preferred + ".podAffinityTerm.labelSelector.matchLabels." + app + "component": "gone",
		}},
		"one manager": {"manager: {replicas: 1}", budgetGone(map[string]string{manager + ".spec.replicas": "1"})},
		"no budget":   {"manager: {podDisruptionBudget: {enabled: false}}", budgetGone(nil)},
		"lane": {"agent: {resources: {requests: {cpu: 4, memory: 16Gi}, limits: {memory: 512Mi}}, maxPods: 250}", map[string]string{
			agentPod + ".containers[agent].resources.requests.cpu":    "4",
			agentPod + ".containers[agent].resources.requests.memory": "16Gi",
			agentPod + ".containers[agent].resources.limits.memory":   "512Mi",
			agentArg: "+ --max-pods=250",
		}},
		"a cloud's network": {"agent: {encapsulation: always}", map[string]string{agentArg: "+ --encapsulation=always"}},
		"some nodes": {"agent: {nodeSelector: {lane: 'true'}, tolerations: [{key: k, operator: Exists}], affinity: {nodeAffinity: {x: z}}, priorityClassName: high, maxUnavailable: 20%}", map[string]string{
			agentPod + ".nodeSelector.lane":                             "true",
			agentPod + ".tolerations[0].key":                            "k",
			agentPod + ".affinity.nodeAffinity.x":                       "z",
			agentPod + ".priorityClassName":                             "high",
			agent + ".spec.updateStrategy.rollingUpdate.maxUnavailable": "20%",
		}},
		"another containerd": {"agent: {containerdSocket: /run/k3s/containerd/containerd.sock, extraArgs: [--v=1]}", map[string]string{
			agentPod + ".containers[agent].volumeMounts[containerd].mountPath": "/run/k3s/containerd",
			agentPod + ".volumes[containerd].hostPath.path":                    "/run/k3s/containerd",
			agentArg: "+ --containerd-address=/run/k3s/containerd/containerd.sock --v=1",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := rendered(t, ""), rendered(t, tc.values)
			got := map[string]string{}
			for path, value := range after {
				if old, ok := before[path]; !ok || value != old {
					got[path] = value
					if rest, longer := strings.CutPrefix(value, old+" "); ok && longer {
						got[path] = "+ " + rest
					}
				}
			}
			for path := range before {
				if _, ok := after[path]; !ok {
					got[path] = "gone"
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("what changed (-want +got):\n%s", diff)
			}
		})
	}
}

const (
	preferred = managerPod + ".affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0]"
	app       = "app.kubernetes.io/"
)

// rendered are all leaves of the chart with these values.
func rendered(t *testing.T, values string) map[string]string {
	t.Helper()
	out, err := template(t, values)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for key, o := range objects(t, out) {
		leaves(o, key, found)
	}
	return found
}

// budgetGone adds to a want that the PodDisruptionBudget is not there.
func budgetGone(want map[string]string) map[string]string {
	const budget = "PodDisruptionBudget/miniplane-manager"
	all := map[string]string{}
	for _, path := range []string{
		".apiVersion", ".kind", ".metadata.name", ".metadata.namespace", ".spec.minAvailable",
		".spec.selector.matchLabels." + app + "name", ".spec.selector.matchLabels." + app + "component",
		".metadata.labels." + app + "instance", ".metadata.labels." + app + "managed-by", ".metadata.labels." + app + "version", ".metadata.labels." + app + "part-of",
		".metadata.labels.helm.sh/chart",
	} {
		all[budget+path] = "gone"
	}
	maps.Copy(all, want)
	return all
}

func TestKinds(t *testing.T) {
	for values, want := range map[string]struct{ kinds, kept bool }{
		"":                       {true, true},
		"crds: {keep: false}":    {true, false},
		"crds: {install: false}": {false, false},
	} {
		out, err := template(t, values)
		if err != nil {
			t.Fatal(err)
		}
		kinds, kept := 0, 0
		for _, o := range objects(t, out) {
			if o["kind"] == "CustomResourceDefinition" {
				kinds++
				if annotations, _ := o["metadata"].(object)["annotations"].(object); annotations["helm.sh/resource-policy"] == "keep" {
					kept++
				}
			}
		}
		if want.kinds != (kinds > 0) || want.kept != (kept > 0) || kept > 0 && kept != kinds {
			t.Errorf("%q: %d kinds, of which %d are kept", values, kinds, kept)
		}
	}
}

func TestRefusedValues(t *testing.T) {
	for values, want := range map[string]string{
		"podCidr: 10.0.0.0/8":                                   "additional properties 'podCidr' not allowed",
		"agent: {maxPod: 3}":                                    "at '/agent': additional properties 'maxPod' not allowed",
		"podCIDR: 10.0.0.0":                                     "at '/podCIDR': '10.0.0.0' does not match pattern",
		"agent: {encapsulation: sometimes}":                     "at '/agent/encapsulation': value must be one of",
		"manager: {agentAbsence: soon}":                         "at '/manager/agentAbsence': 'soon' does not match pattern",
		"manager: {nodeEvictionRate: 0.5}":                      "at '/manager/nodeEvictionRate': got number, want string",
		"nodePortRange: 30000":                                  "at '/nodePortRange': got number, want string",
		"nodeCIDRMaskSize: 31":                                  "at '/nodeCIDRMaskSize': maximum: got 31, want 30",
		"image: {tag: 1.2}":                                     "at '/image/tag': got number, want string",
		"image: {pullPolicy: Sometimes}":                        "value must be one of 'Always', 'IfNotPresent', 'Never'",
		"imagePullSecrets: [s]":                                 "at '/imagePullSecrets/0': got string, want object",
		"manager: {replicas: two}":                              "at '/manager/replicas': got string, want integer",
		"manager: {tolerations: [{ky: a}]}":                     "additional properties 'ky' not allowed",
		"manager: {extraArgs: [x]}":                             "at '/manager/extraArgs/0': 'x' does not match pattern",
		"manager: {affinity: {podAfinity: {}}}":                 "additional properties 'podAfinity' not allowed",
		"agent: {nodeSelector: {lane: true}}":                   "at '/agent/nodeSelector/lane': got boolean, want string",
		"agent: {resources: {requests: {cpu: null}}}":           "at '/agent/resources/requests': missing property 'cpu'",
		"agent: {resources: {requests: {memory: 1GB}}}":         "at '/agent/resources/requests/memory': '1GB' does not match pattern",
		"agent: {resources: {requests: {cpu: 0}}}":              "agent.resources.requests.cpu is 0: MiniPods could ask for nothing",
		"agent: {containerdSocket: containerd.sock}":            "at '/agent/containerdSocket'",
		"agent: {maxUnavailable: 0}":                            "at '/agent/maxUnavailable'",
		"crds: {keep: 'yes'}":                                   "at '/crds/keep': got string, want boolean",
		"manager: {extraArgs: [--pod-cidr=10.0.0.0/8]}":         "manager.extraArgs has --pod-cidr=10.0.0.0/8: use the value podCIDR instead",
		"agent: {extraArgs: [--v=1, -service-cidr=10.0.0.0/8]}": "agent.extraArgs has -service-cidr=10.0.0.0/8: use the value serviceCIDR instead",
		"agent: {extraArgs: [--cpu=4]}":                         "use the value agent.resources instead",
	} {
		if _, err := template(t, values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want it to contain %q", values, err, want)
		}
	}
}

func TestOtherNamespace(t *testing.T) {
	_, err := run(t, "helm", "template", "miniplane", "charts/miniplane", "--namespace", "elsewhere")
	if want := "must be installed into the namespace miniplane-system, not elsewhere"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want it to contain %q", err, want)
	}
}
