package v1alpha1

import "cmp"

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
