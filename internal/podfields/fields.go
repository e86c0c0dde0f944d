// Package podfields says of each field of a native Pod's spec whether a MiniPod has it, with which values, and if not, why not.
//
// The idea: one line for each field of k8s.io/api/core/v1, with an example of its use. The documents are written from it (docs/minipod-fields.md),
// and tests hold it against everything else that knows the fields: the types of core/v1 (no field is forgotten), the schema of MiniPods (it has
// what is said to work, and lacks the rest), and a real API server (it takes the examples, or refuses them by name; as those of a native Pod it
// takes them all). So whoever brings a field to MiniPods changes its line from refused to works, and whoever raises the version of core/v1 has to
// say something of what is new in it.
package podfields

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
)

// Verdict is what becomes of a field.
type Verdict string

// Verdicts.
const (
	// Works: it means what it means in a native Pod.
	Works Verdict = "works"
	// Only: it works with some values, and others are refused.
	Only Verdict = "works with these values only"
	// Idle: it is taken and changes nothing, because it has nothing to change.
	Idle Verdict = "is taken and changes nothing"
	// Refused: the API server refuses a MiniPod that has it.
	Refused Verdict = "refused"
	// Own: a native Pod has no such field.
	Own Verdict = "a MiniPod's own"
)

// Field is one field of a type.
type Field struct {
	// Name as in a manifest.
	Name string
	Verdict
	// Takes has values, in YAML, that the field can have; Not one that it cannot have.
	Takes []string
	Not   string
	// Why it does not work, or not with other values, in words that can follow "because", or what is different where it works; Instead is what to do, where there is something.
	Why, Instead string
	// frame is a spec for the examples where that of the type does not do.
	frame string
}

// Type has the fields of a type of core/v1, those of embedded types among them.
type Type struct {
	reflect.Type
	// frame is a MiniPod's spec in YAML, in which HERE stands where a value of the type is.
	frame  string
	Fields []Field
}

// Frame is a MiniPod's spec in YAML in which HERE stands where the field is to be put.
func (t *Type) Frame(f *Field) string {
	if f.frame != "" {
		return f.frame
	}
	return t.frame
}

// All are the types that a MiniPod's spec is made of, the spec itself first.
func All() []Type {
	return append([]Type{
		{reflect.TypeFor[corev1.PodSpec](), `{containers: [{name: a, image: x}], HERE: }`, podSpec},
		{reflect.TypeFor[corev1.Container](), inContainer(`HERE: `), container},
		{reflect.TypeFor[corev1.ContainerRestartRule](), inContainer(`restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42]}, HERE: }]`), restartRule},
		{reflect.TypeFor[corev1.ContainerRestartRuleOnExitCodes](), inContainer(`restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42], HERE: }}]`), restartRuleExitCodes},
		{reflect.TypeFor[corev1.ContainerPort](), inContainer(`ports: [{containerPort: 1, HERE: }]`), containerPort},
		{reflect.TypeFor[corev1.ResourceRequirements](), inContainer(`resources: {HERE: }`), resourceRequirements},
		{reflect.TypeFor[corev1.EnvVar](), inContainer(`env: [{name: A, HERE: }]`), envVar},
		{reflect.TypeFor[corev1.EnvVarSource](), inContainer(`env: [{name: A, valueFrom: {HERE: }}]`), envVarSource},
		{reflect.TypeFor[corev1.EnvFromSource](), inContainer(`envFrom: [{HERE: }]`), envFromSource},
		{reflect.TypeFor[corev1.ConfigMapKeySelector](), inContainer(`env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: k, HERE: }}}]`), keySelector},
		{reflect.TypeFor[corev1.SecretKeySelector](), inContainer(`env: [{name: A, valueFrom: {secretKeyRef: {name: c, key: k, HERE: }}}]`), keySelector},
		{reflect.TypeFor[corev1.FileKeySelector](), withEnvFile(`volumeName: v, path: p, key: k, HERE: `), fileKeySelector},
		{reflect.TypeFor[corev1.ConfigMapEnvSource](), inContainer(`envFrom: [{configMapRef: {name: c, HERE: }}]`), envSource},
		{reflect.TypeFor[corev1.SecretEnvSource](), inContainer(`envFrom: [{secretRef: {name: c, HERE: }}]`), envSource},
		{reflect.TypeFor[corev1.ObjectFieldSelector](), inContainer(`env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name, HERE: }}}]`), objectFieldSelector},
		{reflect.TypeFor[corev1.ResourceFieldSelector](), inContainer(`env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu, HERE: }}}]`), resourceFieldSelector},
		{reflect.TypeFor[corev1.VolumeMount](), withVolume(`emptyDir: {}`, `name: v, mountPath: /v, HERE: `), volumeMount},
		{reflect.TypeFor[corev1.Probe](), inContainer(`readinessProbe: {tcpSocket: {port: 80}, HERE: }`), probe},
		{reflect.TypeFor[corev1.ExecAction](), inContainer(`readinessProbe: {exec: {HERE: }}`), execAction},
		{reflect.TypeFor[corev1.HTTPGetAction](), inContainer(`readinessProbe: {httpGet: {port: 80, HERE: }}`), httpGetAction},
		{reflect.TypeFor[corev1.HTTPHeader](), inContainer(`readinessProbe: {httpGet: {port: 80, httpHeaders: [{name: A, value: b, HERE: }]}}`), httpHeader},
		{reflect.TypeFor[corev1.TCPSocketAction](), inContainer(`readinessProbe: {tcpSocket: {port: 80, HERE: }}`), tcpSocketAction},
		{reflect.TypeFor[corev1.GRPCAction](), inContainer(`readinessProbe: {grpc: {port: 80, HERE: }}`), grpcAction},
		{reflect.TypeFor[corev1.Lifecycle](), inContainer(`lifecycle: {HERE: }`), lifecycle},
		{reflect.TypeFor[corev1.LifecycleHandler](), inContainer(`lifecycle: {preStop: {HERE: }}`), lifecycleHandler},
		{reflect.TypeFor[corev1.SleepAction](), inContainer(`lifecycle: {preStop: {sleep: {HERE: }}}`), sleepAction},
		{reflect.TypeFor[corev1.SecurityContext](), inContainer(`securityContext: {HERE: }`), securityContext},
		{reflect.TypeFor[corev1.Capabilities](), inContainer(`securityContext: {capabilities: {HERE: }}`), capabilities},
		{reflect.TypeFor[corev1.SeccompProfile](), inContainer(`securityContext: {seccompProfile: {type: Unconfined, HERE: }}`), seccompProfile},
		{reflect.TypeFor[corev1.PodSecurityContext](), inPod(`securityContext: {HERE: }`), podSecurityContext},
		{reflect.TypeFor[corev1.LocalObjectReference](), inPod(`imagePullSecrets: [{HERE: }]`), localObjectReference},
		{reflect.TypeFor[corev1.Toleration](), inPod(`tolerations: [{key: a, HERE: }]`), toleration},
		{reflect.TypeFor[corev1.Affinity](), inPod(`affinity: {HERE: }`), affinity},
		{reflect.TypeFor[corev1.NodeAffinity](), inPod(`affinity: {nodeAffinity: {HERE: }}`), nodeAffinity},
		{reflect.TypeFor[corev1.NodeSelector](), inPod(`affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {HERE: }}}`), nodeSelector},
		{reflect.TypeFor[corev1.NodeSelectorTerm](), inNodeTerm(`HERE: `), nodeSelectorTerm},
		{reflect.TypeFor[corev1.NodeSelectorRequirement](), inNodeTerm(`matchExpressions: [{key: a, operator: Exists, HERE: }]`), nodeSelectorRequirement},
		{reflect.TypeFor[corev1.PreferredSchedulingTerm](), inPod(`affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {}, HERE: }]}}`), preferredTerm},
		{reflect.TypeFor[corev1.PodAffinity](), inPod(`affinity: {podAffinity: {HERE: }}`), podAffinity},
		{reflect.TypeFor[corev1.PodAffinityTerm](), inPod(`affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, labelSelector: {}, HERE: }]}}`), podAffinityTerm},
		{reflect.TypeFor[corev1.WeightedPodAffinityTerm](), inPod(`affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: zone}, HERE: }]}}`), weightedTerm},
		{reflect.TypeFor[corev1.PodAntiAffinity](), inPod(`affinity: {podAntiAffinity: {HERE: }}`), podAffinity},
		{reflect.TypeFor[corev1.TopologySpreadConstraint](), inPod(`topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, HERE: }]`), spreadConstraint},
		{reflect.TypeFor[corev1.HostAlias](), inPod(`hostAliases: [{ip: 127.0.0.1, HERE: }]`), hostAlias},
		{reflect.TypeFor[corev1.PodDNSConfig](), inPod(`dnsConfig: {HERE: }`), dnsConfig},
		{reflect.TypeFor[corev1.PodDNSConfigOption](), inPod(`dnsConfig: {options: [{name: a, HERE: }]}`), dnsOption},
		{reflect.TypeFor[corev1.PodOS](), inPod(`os: {HERE: }`), podOS},
	}, volumeTypes()...)
}

func inPod(fields string) string { return `{containers: [{name: a, image: x}], ` + fields + `}` }
func inNodeTerm(fields string) string {
	return inPod(`affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{` + fields + `}]}}}`)
}
func inContainer(fields string) string { return `{containers: [{name: a, image: x, ` + fields + `}]}` }
func inVolume(source string) string    { return inPod(`volumes: [{name: v, ` + source + `}]`) }
func withToken(source string) string {
	return inPod(`serviceAccountName: default, volumes: [{name: v, projected: {sources: [{` + source + `}]}}]`)
}
func withVolume(source, mount string) string {
	return `{volumes: [{name: v, ` + source + `}], containers: [{name: a, image: x, env: [{name: A, value: b}], volumeMounts: [{` + mount + `}]}]}`
}
func withEnvFile(selector string) string {
	return `{volumes: [{name: v, emptyDir: {}}, {name: w, emptyDir: {}}], containers: [{name: a, image: x, env: [{name: A, valueFrom: {fileKeyRef: {` + selector + `}}}]}]}`
}

// works is a field that works, with an example.
func works(name, example string) Field {
	return Field{Name: name, Verdict: Works, Takes: []string{example}}
}

// but says in what a field that works differs.
func (f Field) but(what string) Field {
	f.Why = what
	return f
}

// only is a field that works with some values, and not with another, because.
func only(name string, takes []string, not, because string) Field {
	return Field{Name: name, Verdict: Only, Takes: takes, Not: not, Why: because}
}

// idle is a field that is taken with these values and changes nothing, because.
func idle(name string, takes []string, because string) Field {
	return Field{Name: name, Verdict: Idle, Takes: takes, Why: because}
}

// refused is a field that is refused, with an example of what a native Pod can say there, because.
func refused(name, not, because string) Field {
	return Field{Name: name, Verdict: Refused, Not: not, Why: because}
}

// instead says what to do in place of a field that is refused.
func (f Field) instead(what string) Field {
	f.Instead = what
	return f
}

// own is a field that only a MiniPod has.
func own(name, example, because string) Field {
	return Field{Name: name, Verdict: Own, Takes: []string{example}, Why: because}
}

func values(all ...string) []string { return all }

// in has examples of the field in another frame than that of its type.
func (f Field) in(frame string) Field {
	f.frame = frame
	return f
}
