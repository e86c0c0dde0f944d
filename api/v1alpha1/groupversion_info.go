// Package v1alpha1 holds the kinds of the group miniplane.dev: Pods, ReplicaSets, Deployments, DaemonSets, Jobs, Services, quotas and
// nodes of a second, fast lane. Field names and meanings are core/v1's and apps/v1's. What a type does not list is not
// supported, and the API server refuses it by name.
//
// A status is miniplane's, and atomic: the API server notes who wrote it last, and not who wrote which of its fields.
//
// +kubebuilder:object:generate=true
// +groupName=miniplane.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// GroupVersion is the group and version of every kind in this package.
	GroupVersion = schema.GroupVersion{Group: "miniplane.dev", Version: "v1alpha1"}

	schemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

	// AddToScheme registers the kinds of this package in a scheme.
	AddToScheme = schemeBuilder.AddToScheme
)

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&MiniPod{}, &MiniPodList{},
		&MiniReplicaSet{}, &MiniReplicaSetList{},
		&MiniDeployment{}, &MiniDeploymentList{},
		&MiniDaemonSet{}, &MiniDaemonSetList{},
		&MiniJob{}, &MiniJobList{},
		&MiniService{}, &MiniServiceList{},
		&MiniQuota{}, &MiniQuotaList{},
		&MiniNode{}, &MiniNodeList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
