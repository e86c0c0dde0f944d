package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

const (
	imageQuiet = "miniplane.dev/busybox:v1"
	imageWeb   = "miniplane.dev/echo:v1"
	imageNext  = "miniplane.dev/echo:v2"
	// webs is how many MiniPods stand behind the service.
	webs = 6
	// containerName is that of the one container of each MiniPod.
	containerName = "main"
	webPort       = 8080
)

// deployment makes a MiniDeployment of MiniPods with one small container each.
func deployment(namespace, name string, replicas int32, image string, command ...string) *miniv1.MiniDeployment {
	labels, grace := map[string]string{"app": name}, int64(1)
	return &miniv1.MiniDeployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: miniv1.MiniDeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: miniv1.MiniPodTemplateSpec{Metadata: miniv1.TemplateMeta{Labels: labels}, Spec: miniv1.MiniPodSpec{
				TerminationGracePeriodSeconds: &grace,
				Containers: []miniv1.Container{{Name: containerName, Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Command: command,
					Resources: miniv1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1m")}}}},
			}},
		},
	}
}

// startSteady starts what nobody may touch: quiet MiniPods, and some behind a service.
func (w *world) startSteady(ctx context.Context) error {
	port := intstr.FromInt32(webPort)
	service := &miniv1.MiniService{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.calm, Name: "web"},
		Spec: miniv1.MiniServiceSpec{Selector: map[string]string{"app": "web"},
			Ports: []miniv1.ServicePort{{Port: 80, TargetPort: &port}}},
	}
	quiet := deployment(w.calm, "quiet", int32(max(0, w.pods-webs)), imageQuiet, "sleep", "31536000")
	web := deployment(w.calm, "web", webs, imageWeb)
	if err := w.markCalm(ctx); err != nil {
		return err
	}
	for _, object := range []client.Object{quiet, web, service} {
		if set, ok := object.(*miniv1.MiniDeployment); ok {
			set.Spec.Template.Spec.NodeSelector = map[string]string{calmLabel: ""}
		}
		if err := w.api.Create(ctx, object); err != nil {
			return err
		}
	}
	return w.calmAgain(ctx)
}

// minipods lists the MiniPods of a namespace.
func (w *world) minipods(ctx context.Context, namespace string) ([]miniv1.MiniPod, error) {
	var list miniv1.MiniPodList
	err := w.api.List(ctx, &list, client.InNamespace(namespace))
	return list.Items, err
}

// waitPods waits until exactly so many MiniPods are in a namespace, all of them ready.
func (w *world) waitPods(ctx context.Context, namespace string, n int) error {
	return eventually(ctx, patience, fmt.Sprintf("%d ready MiniPods", n), func() error {
		list, err := w.minipods(ctx, namespace)
		if err != nil {
			return err
		}
		ready := 0
		states := map[string]int{}
		for i := range list {
			if podstate.IsActive(&list[i]) && podstate.IsReady(&list[i]) {
				ready++
				continue
			}
			states[list[i].Status.Summary]++
		}
		if len(list) == n && ready == n {
			return nil
		}
		return fmt.Errorf("%d ready of %d; the others: %v", ready, len(list), states)
	})
}

// calmAgain waits until everything that is to run all the time does, the nodes are ready, and the service has its endpoints.
func (w *world) calmAgain(ctx context.Context) error {
	if err := w.waitNodes(ctx); err != nil {
		return err
	}
	if err := w.waitPods(ctx, w.calm, max(w.pods, webs)); err != nil {
		return err
	}
	backends, err := w.backends(ctx)
	if err != nil {
		return err
	}
	return eventually(ctx, patience, "the service's endpoints", func() error {
		slices, err := w.slices(ctx)
		if err != nil {
			return err
		}
		return wrong(slices, backends)
	})
}

// waitNodes waits until every node with an agent is ready.
func (w *world) waitNodes(ctx context.Context) error {
	return eventually(ctx, patience, "nodes ready", func() error {
		var nodes miniv1.MiniNodeList
		if err := w.api.List(ctx, &nodes); err != nil {
			return err
		}
		var not []error
		for _, node := range nodes.Items {
			for _, c := range node.Status.Conditions {
				if c.Type == miniv1.ConditionReady && c.Status != metav1.ConditionTrue {
					not = append(not, fmt.Errorf("%s: %s", node.Name, c.Message))
				}
			}
		}
		return errors.Join(not...)
	})
}

// backends are the MiniPods behind the service, by address.
func (w *world) backends(ctx context.Context) (map[string]string, error) {
	list, err := w.minipods(ctx, w.calm)
	out := map[string]string{}
	for _, pod := range list {
		if pod.Labels["app"] == "web" && pod.Status.PodIP != "" {
			out[pod.Status.PodIP] = pod.Name
		}
	}
	return out, err
}

func (w *world) slices(ctx context.Context) ([]discoveryv1.EndpointSlice, error) {
	var list discoveryv1.EndpointSliceList
	err := w.api.List(ctx, &list, client.InNamespace(w.calm), client.MatchingLabels{miniv1.ServiceNameLabel: "web"})
	return list.Items, err
}

// wrong says what is wrong with slices that should have just these ready addresses; nil when nothing is.
func wrong(list []discoveryv1.EndpointSlice, want map[string]string) error {
	got := map[string]bool{}
	for _, slice := range list {
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				for _, address := range e.Addresses {
					got[address] = true
				}
			}
		}
	}
	has := slices.Sorted(maps.Keys(got))
	if should := slices.Sorted(maps.Keys(want)); !slices.Equal(has, should) {
		return fmt.Errorf("endpoints %v, want %v", has, should)
	}
	return nil
}
