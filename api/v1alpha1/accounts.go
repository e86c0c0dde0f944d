package v1alpha1

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// What a native Pod gets of the admission of ServiceAccounts.
const (
	// apiAccessPath is where clients of the API server look for what they need.
	apiAccessPath = "/var/run/secrets/kubernetes.io/serviceaccount"
	// apiAccessPrefix is how the names of its volumes begin in Pods that come out of an API server; with the word behind it, one that nobody else has then.
	apiAccessPrefix = "kube-api-access-"
	apiAccessVolume = apiAccessPrefix + "token"
	// tokenSeconds is for how long a token is good, an hour and a little, by which the API server knows those that nobody asked for by a time of his own.
	tokenSeconds = 3607
	// rootCertificates is the ConfigMap that every namespace has of kube-controller-manager.
	rootCertificates, certificateKey = "kube-root-ca.crt", "ca.crt"
)

// ServiceAccount is the name of the account whose tokens the MiniPod can have, and whose pull secrets it has where it names none.
func (s *MiniPodSpec) ServiceAccount() string {
	return cmp.Or(s.ServiceAccountName, s.DeprecatedServiceAccount, "default")
}

// PullSecrets name the Secrets with which images are pulled: those of the spec, or else of the ServiceAccount.
func (p *MiniPod) PullSecrets() []LocalObjectReference {
	if len(p.Spec.ImagePullSecrets) > 0 {
		return p.Spec.ImagePullSecrets
	}
	return p.Status.ImagePullSecrets
}

// wantsAPIAccess tells whether containers are to have a token that they have no volume for.
func (s *MiniPodSpec) wantsAPIAccess() bool {
	return s.AutomountServiceAccountToken != nil && *s.AutomountServiceAccountToken
}

// WithAPIAccess is the MiniPod with the volume, and the mounts, that automountServiceAccountToken: true stands for; itself where there is nothing to add. A
// native Pod has them in its spec from its creation on; of a MiniPod everybody who looks at volumes looks at this.
func (p *MiniPod) WithAPIAccess() *MiniPod {
	if !p.Spec.wantsAPIAccess() || !p.Spec.lacksAPIAccess() {
		return p
	}
	p = p.DeepCopy()
	name := apiAccessVolume
	if at := slices.IndexFunc(p.Spec.Volumes, func(v Volume) bool { return strings.HasPrefix(v.Name, apiAccessPrefix) }); at >= 0 {
		name = p.Spec.Volumes[at].Name
	} else {
		p.Spec.Volumes = append(p.Spec.Volumes, apiAccess())
	}
	for _, c := range p.Spec.AllContainers() {
		if !c.hasAPIAccess() {
			c.VolumeMounts = append(c.VolumeMounts, VolumeMount{Name: name, MountPath: apiAccessPath, ReadOnly: true})
		}
	}
	return p
}

// lacksAPIAccess tells whether a container has nothing where clients of the API server look.
func (s *MiniPodSpec) lacksAPIAccess() bool {
	for _, c := range s.AllContainers() {
		if !c.hasAPIAccess() {
			return true
		}
	}
	return false
}

func (c *Container) hasAPIAccess() bool {
	return slices.ContainsFunc(c.VolumeMounts, func(m VolumeMount) bool { return m.MountPath == apiAccessPath })
}

// apiAccess is the volume.
func apiAccess() Volume {
	return Volume{Name: apiAccessVolume, Projected: &ProjectedVolumeSource{DefaultMode: new(corev1.ProjectedVolumeSourceDefaultMode), Sources: []VolumeProjection{
		{ServiceAccountToken: &ServiceAccountTokenProjection{Path: corev1.ServiceAccountTokenKey, ExpirationSeconds: new(int64(tokenSeconds))}},
		{ConfigMap: &ConfigMapProjection{Name: rootCertificates, Items: []KeyToPath{{Key: certificateKey, Path: corev1.ServiceAccountRootCAKey}}}},
		{DownwardAPI: &DownwardAPIProjection{Items: []DownwardAPIVolumeFile{
			{Path: corev1.ServiceAccountNamespaceKey, FieldRef: &FileFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}}}}},
	}}}
}
