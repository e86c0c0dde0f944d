package api

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"miniplane.dev/miniplane/test/testenv"
)

// tryManifest asks the API server, as kubectl does, whether it would take a manifest.
func tryManifest(t *testing.T, c client.Client, namespace, manifest string) error {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte("apiVersion: miniplane.dev/v1alpha1\n"+manifest), object); err != nil {
		t.Fatalf("%s: %v", manifest, err)
	}
	object.SetNamespace(namespace)
	return strict(c).Create(t.Context(), object, client.DryRunAll)
}

func podWith(fields, container string) string {
	return "kind: MiniPod\nmetadata: {name: probe, creationTimestamp: null}\nspec: {" + fields + " containers: [{name: a, image: x, " + container + "}]}\nstatus: {}\n"
}

func serviceWith(fields string) string {
	return "kind: MiniService\nmetadata: {name: probe, creationTimestamp: null}\nspec: {selector: {a: b}, " + fields + "}\nstatus: {loadBalancer: {}}\n"
}

// What generators, charts and API servers write where nothing is meant is taken for not given.
func TestWhatSaysNothingIsTaken(t *testing.T) {
	_, c := testenv.Start(t)
	namespace := testenv.Namespace(t, c)
	for name, manifest := range map[string]string{
		"null everywhere": podWith("imagePullSecrets: null, nodeSelector: null, tolerations: null, securityContext: null, restartPolicy: null, nodeName: null, "+
			"hostname: null, terminationGracePeriodSeconds: null, dnsPolicy: null, priority: null, hostNetwork: null,",
			"command: null, args: null, env: null, ports: null, resources: null, securityContext: null, imagePullPolicy: null, workingDir: null, tty: null"),
		"empty lists and maps": podWith(`initContainers: [], imagePullSecrets: [], nodeSelector: {}, tolerations: [], securityContext: {}, nodeName: "",`,
			`command: [], args: [], env: [], ports: [], resources: {limits: {}, requests: null}, securityContext: {}, workingDir: ""`),
		"empty strings": podWith(`hostname: "", restartPolicy: "", dnsPolicy: "", schedulerName: "", serviceAccountName: "", priorityClassName: "",`,
			`imagePullPolicy: "", ports: [{containerPort: 80, hostPort: 0, name: "", protocol: ""}]`),
		"a token of an account":              podWith("serviceAccountName: robot, automountServiceAccountToken: true,", "args: [a]"),
		"an account for its pull secrets":    podWith("serviceAccountName: robot, automountServiceAccountToken: false,", "args: [a]"),
		"a secret of no name, and one twice": podWith(`imagePullSecrets: [{name: ""}, {name: x}, {name: x}],`, "args: [a]"),
		"tolerations": podWith(`tolerations: [{key: a, operator: "", value: b, effect: ""}, {key: a, operator: Exists, effect: NoExecute, tolerationSeconds: -1}],`,
			"args: [a]"),
		"capabilities in small letters": podWith("", "securityContext: {capabilities: {drop: [all], add: [net_bind_service]}}"),
		"one port by two names":         podWith("", "ports: [{name: http, containerPort: 8080}, {name: metrics, containerPort: 8080}]"),
		"a variable twice":              podWith("", "env: [{name: A, value: a}, {name: A, value: b}]"),
		"defaults": podWith("dnsPolicy: ClusterFirst, enableServiceLinks: true, preemptionPolicy: PreemptLowerPriority, priority: 0, schedulerName: default-scheduler, "+
			"serviceAccount: default, serviceAccountName: default, automountServiceAccountToken: false, hostNetwork: false, hostPID: false, hostIPC: false, "+
			"shareProcessNamespace: false, setHostnameAsFQDN: false, hostUsers: true, runtimeClassName: \"\",", "stdin: false, stdinOnce: false, tty: false, "+
			"ports: [{containerPort: 80, hostPort: 80, hostIP: 0.0.0.0}]"),
		"node port 0":   serviceWith("type: NodePort, ports: [{name: a, port: 80, nodePort: 0}, {name: b, port: 81, nodePort: 0}]"),
		"no type":       serviceWith(`type: "", clusterIP: "", ports: [{port: 80, nodePort: 0, targetPort: null, protocol: "", name: ""}], sessionAffinity: "", sessionAffinityConfig: null`),
		"its defaults":  serviceWith("internalTrafficPolicy: Cluster, ipFamilies: [IPv4], ipFamilyPolicy: SingleStack, publishNotReadyAddresses: false, ports: [{port: 80}]"),
		"one node port": serviceWith("type: NodePort, ports: [{name: u, port: 53, protocol: UDP, nodePort: 30953}, {name: t, port: 53, nodePort: 30953}]"),
		"a template": "kind: MiniDeployment\nmetadata: {name: probe, creationTimestamp: null}\nspec: {selector: {matchLabels: {a: b}}, strategy: {}, " +
			"template: {metadata: {creationTimestamp: null, labels: {a: b}}, spec: {restartPolicy: \"\", containers: [{name: a, image: x, resources: {}}]}}}\nstatus: {}\n",
	} {
		t.Run(name, func(t *testing.T) {
			if err := tryManifest(t, c, namespace, manifest); err != nil {
				t.Error(err)
			}
		})
	}
}

// Where such a field says something, it is refused by its name.
func TestWhatWouldChangeSomethingIsRefused(t *testing.T) {
	_, c := testenv.Start(t)
	namespace := testenv.Namespace(t, c)
	for field, manifest := range map[string]string{
		"schedulerName":            podWith("schedulerName: another,", "args: [a]"),
		"serviceAccountName":       podWith("serviceAccountName: robot,", "args: [a]"),
		"priority":                 podWith("priority: 1000,", "args: [a]"),
		"priorityClassName":        podWith("priorityClassName: high,", "args: [a]"),
		"tty":                      podWith("", "tty: true"),
		"stdin":                    podWith("", "stdin: true"),
		"capabilities.add":         podWith("", "securityContext: {capabilities: {add: [FLY]}}"),
		"protocol":                 podWith("", "ports: [{containerPort: 80, protocol: SCTP}]"),
		"hostPort":                 podWith("", "ports: [{containerPort: 80, hostPort: 81, protocol: \"\"}, {containerPort: 82, hostPort: 81}]"),
		"hostIP":                   podWith("", "ports: [{containerPort: 80, hostPort: 81, hostIP: 127.0.0.1}]"),
		"hostUsers":                podWith("hostUsers: false,", "args: [a]"),
		"runtimeClassName":         podWith("runtimeClassName: gvisor,", "args: [a]"),
		"port names":               podWith("", "ports: [{name: a, containerPort: 80}, {name: a, containerPort: 81}]"),
		"internalTrafficPolicy":    serviceWith("internalTrafficPolicy: Local, ports: [{port: 80}]"),
		"externalTrafficPolicy":    serviceWith("externalTrafficPolicy: Local, ports: [{port: 80}]"),
		"ipFamilies":               serviceWith("ipFamilies: [IPv6], ports: [{port: 80}]"),
		"publishNotReadyAddresses": serviceWith("publishNotReadyAddresses: true, ports: [{port: 80}]"),
		"nodePort":                 serviceWith("ports: [{port: 80, nodePort: 30080}]"),
	} {
		t.Run(field, func(t *testing.T) {
			if err := tryManifest(t, c, namespace, manifest); err == nil || !strings.Contains(err.Error(), field) {
				t.Errorf("%v", err)
			}
		})
	}
}
