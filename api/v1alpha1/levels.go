package v1alpha1

import "slices"

// Levels of a MiniPod's spec. An agent that does not know a field runs a MiniPod as if the field were not there: main containers without
// their init containers. So each field whose absence would be felt comes with a level, agents say how far they know them, and the
// scheduler binds no MiniPod to a node whose agent knows less.
const (
	// SpecLevelInitContainers is that of spec.initContainers.
	SpecLevelInitContainers int32 = 1
	// SpecLevelProbes is that of livenessProbe, readinessProbe and startupProbe of containers.
	SpecLevelProbes int32 = 2
	// SpecLevelEnvironment is that of environment variables that come from elsewhere.
	SpecLevelEnvironment int32 = 3
	// SpecLevelVolumes is that of spec.volumes, volumeMounts of containers, and fsGroup.
	SpecLevelVolumes int32 = 4
	// SpecLevelHooks is that of lifecycle of containers.
	SpecLevelHooks int32 = 5

	// SpecLevelDeadline is that of spec.activeDeadlineSeconds.
	SpecLevelDeadline int32 = 6

	// SpecLevelVolumeKinds is that of volumes of the kinds hostPath and image, of mountPropagation and recursiveReadOnly, and of sizeLimit on disk.
	SpecLevelVolumeKinds int32 = 7

	// SpecLevelNames is that of hostAliases, subdomain, setHostnameAsFQDN and dnsConfig.
	SpecLevelNames int32 = 8

	// SpecLevelRestartRules is that of restartPolicy and restartPolicyRules of containers, but for what makes a sidecar.
	SpecLevelRestartRules int32 = 9

	// SpecLevelNamespaces is that of hostNetwork, hostPID, hostIPC and shareProcessNamespace.
	SpecLevelNamespaces int32 = 10

	// SpecLevelAPIAccess is that of automountServiceAccountToken: true.
	SpecLevelAPIAccess int32 = 11

	// SpecLevelEnvFiles is that of environment variables that come from files.
	SpecLevelEnvFiles int32 = 12

	// NewestSpecLevel is what this version knows.
	NewestSpecLevel = SpecLevelEnvFiles
)

// specLevelFields are the fields that levels brought.
var specLevelFields = map[int32]string{
	SpecLevelInitContainers: "spec.initContainers",
	SpecLevelProbes:         "probes of containers",
	SpecLevelEnvironment:    "variables from ConfigMaps, Secrets and resources",
	SpecLevelVolumes:        "spec.volumes",
	SpecLevelHooks:          "lifecycle of containers",
	SpecLevelDeadline:       "spec.activeDeadlineSeconds",
	SpecLevelVolumeKinds:    "hostPath, image, mountPropagation, recursiveReadOnly or sizeLimit on disk of volumes",
	SpecLevelNames:          "hostAliases, subdomain, setHostnameAsFQDN and dnsConfig",
	SpecLevelRestartRules:   "restartPolicy and restartPolicyRules of containers",
	SpecLevelNamespaces:     "hostNetwork, hostPID, hostIPC and shareProcessNamespace",
	SpecLevelAPIAccess:      "automountServiceAccountToken: true",
	SpecLevelEnvFiles:       "variables from files (fileKeyRef)",
}

// Level is what an agent has to know to run the MiniPod.
func (s *MiniPodSpec) Level() int32 {
	level := int32(0)
	if len(s.InitContainers) > 0 {
		level = SpecLevelInitContainers
	}
	if len(s.Volumes) > 0 || s.SecurityContext != nil && s.SecurityContext.FSGroup != nil {
		level = SpecLevelVolumes
	}
	if s.ActiveDeadlineSeconds != nil {
		level = SpecLevelDeadline
	}
	if slices.ContainsFunc(s.Volumes, func(v Volume) bool { return v.later() }) {
		level = SpecLevelVolumeKinds
	}
	if s.speak() {
		level = SpecLevelNames
	}
	if s.unusual() {
		level = SpecLevelNamespaces
	}
	if s.wantsAPIAccess() {
		level = SpecLevelAPIAccess
	}
	for kind, c := range s.AllContainers() {
		level = max(level, c.level())
		if len(c.RestartPolicyRules) > 0 || c.RestartPolicy != "" && kind != ContainerSidecar {
			level = max(level, SpecLevelRestartRules)
		}
	}
	return level
}

// level is what an agent has to know to run the container.
func (c *Container) level() int32 {
	if slices.ContainsFunc(c.Env, func(v EnvVar) bool { return v.ValueFrom != nil && v.ValueFrom.FileKeyRef != nil }) {
		return SpecLevelEnvFiles
	}
	if slices.ContainsFunc(c.VolumeMounts, func(m VolumeMount) bool { return m.later() }) {
		return SpecLevelVolumeKinds
	}
	if c.Lifecycle != nil {
		return SpecLevelHooks
	}
	if len(c.VolumeMounts) > 0 {
		return SpecLevelVolumes
	}
	if len(c.EnvFrom) > 0 {
		return SpecLevelEnvironment
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil && !firstFields[from.fieldPath()] {
			return SpecLevelEnvironment
		}
	}
	if c.HasProbes() {
		return SpecLevelProbes
	}
	return 0
}

// firstFields are what fieldRef could name from the beginning.
var firstFields = map[string]bool{"metadata.name": true, "metadata.namespace": true, "metadata.uid": true,
	"spec.nodeName": true, "status.hostIP": true, "status.podIP": true}

// fieldPath is the field that the value is; empty if it is none.
func (s *EnvVarSource) fieldPath() string {
	if s.FieldRef == nil {
		return ""
	}
	return s.FieldRef.FieldPath
}

// Level is what the agent of the node knows. What one of another version said, which may have been a newer one, does not count.
func (i *MiniNodeInfo) Level() int32 {
	if i.SpecLevelOf == "" || i.SpecLevelOf != i.AgentVersion {
		return 0
	}
	return i.SpecLevel
}

// SpecLevelField is the field that a level brought.
func SpecLevelField(level int32) string {
	if field, known := specLevelFields[level]; known {
		return field
	}
	return "something newer than this version"
}
