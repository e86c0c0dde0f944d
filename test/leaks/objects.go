package leaks

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// kinds are those of which MiniPods, and what makes them, have objects.
func kinds() []client.ObjectList {
	return []client.ObjectList{
		&miniv1.MiniPodList{}, &miniv1.MiniReplicaSetList{}, &miniv1.MiniDeploymentList{}, &miniv1.MiniDaemonSetList{}, &miniv1.MiniJobList{},
		&miniv1.MiniServiceList{}, &miniv1.MiniQuotaList{}, &miniv1.MiniNodeList{},
		&discoveryv1.EndpointSliceList{}, &coordinationv1.LeaseList{}, &corev1.ResourceQuotaList{}, &corev1.ServiceAccountList{},
		&corev1.ConfigMapList{}, &corev1.SecretList{}, &rbacv1.RoleList{}, &rbacv1.RoleBindingList{}, &corev1.PodList{},
	}
}

// Grant is the kind of a right of a node's agent to read something, which stays for some minutes after its last use.
const Grant = "grant"

// Objects lists what there is in the API server, sorted. Kubernetes' own namespaces, the Pods of miniplane's programs, which get
// other names, and the account of a node that is there, which comes with its first right, are left out.
func Objects(ctx context.Context, api client.Reader) ([]string, error) {
	var out []string
	for _, list := range kinds() {
		if err := api.List(ctx, list); err != nil {
			return nil, fmt.Errorf("listing %T: %w", list, err)
		}
		kind := strings.TrimSuffix(reflect.TypeOf(list).Elem().Name(), "List")
		err := meta.EachListItem(list, func(o runtime.Object) error {
			object, what := o.(client.Object), "object"
			if kind != "ServiceAccount" && object.GetLabels()[miniv1.GrantLabel] != "" {
				what = Grant
			}
			if !foreign(object) {
				out = append(out, fmt.Sprintf("%s %s %s/%s", what, kind, object.GetNamespace(), object.GetName()))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	out = slices.DeleteFunc(slices.Clone(out), func(thing string) bool {
		node, account := strings.CutPrefix(thing, "object ServiceAccount "+miniv1.NodesNamespace+"/")
		return account && slices.Contains(out, "object MiniNode /"+node)
	})
	slices.Sort(out)
	return out, nil
}

func foreign(o client.Object) bool {
	if strings.HasPrefix(o.GetNamespace(), "kube-") {
		return true
	}
	_, isPod := o.(*corev1.Pod)
	component := o.GetLabels()["app.kubernetes.io/component"]
	return isPod && (component == "agent" || component == "manager")
}
