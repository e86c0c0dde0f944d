//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
)

var (
	crdResource      = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	nodeResource     = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	miniNodeResource = schema.GroupVersionResource{Group: "miniplane.dev", Version: "v1alpha1", Resource: "mininodes"}
)

// client talks to the API server as administrator, without limits of its own.
func (c *Cluster) client() (dynamic.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfigFile(adminIdentity))
	if err != nil {
		return nil, err
	}
	config.QPS, config.Timeout = -1, 10*time.Second
	return dynamic.NewForConfig(config)
}

// installObjects applies what miniplane needs in the API server, and waits until its kinds are served: namespaces first,
// then all the rest at once.
func (c *Cluster) installObjects(ctx context.Context) error {
	objects, err := c.manifests()
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	for _, namespaces := range []bool{true, false} {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(8)
		for _, o := range objects {
			if (o.GetKind() == "Namespace") == namespaces {
				group.Go(func() error { return apply(ctx, client, o) })
			}
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return waitEstablished(ctx, client)
}

// manifests are the objects of config/ that every installation has, and the few that only a local cluster needs.
func (c *Cluster) manifests() ([]*unstructured.Unstructured, error) {
	patterns := []string{"config/crd/bases/*.yaml", "config/policy/*.yaml", "config/rbac/*.yaml", "hack/cluster/rbac.yaml"}
	var all []*unstructured.Unstructured
	for _, pattern := range patterns {
		files, err := filepath.Glob(filepath.Join(c.Root, pattern))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			objects, err := decodeObjects(data)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			all = append(all, objects...)
		}
	}
	return all, nil
}

// decodeObjects reads the objects of a YAML file. What belongs to kustomize alone is left out.
func decodeObjects(data []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		if len(o.Object) > 0 && !strings.HasPrefix(o.GetAPIVersion(), "kustomize.config.k8s.io/") {
			objects = append(objects, o)
		}
	}
}

// apply tries again as long as the API server takes too long to answer, as a new one does on a busy machine.
func apply(ctx context.Context, client dynamic.Interface, o *unstructured.Unstructured) error {
	resource, _ := meta.UnsafeGuessKindToResource(o.GroupVersionKind())
	var refused error
	err := eventually(ctx, func() error {
		_, err := client.Resource(resource).Namespace(o.GetNamespace()).
			Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "miniplane-local-cluster", Force: true})
		if tooLate(err) {
			return err
		}
		refused = err
		return nil
	})
	if err = cmp.Or(err, refused); err != nil {
		return fmt.Errorf("apply %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	return nil
}

// tooLate tells an answer that did not come in time, or one that says that it will not.
func tooLate(err error) bool {
	return utilnet.IsTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) || apierrors.IsTooManyRequests(err)
}

// waitEstablished waits until the API server serves all of miniplane's kinds.
func waitEstablished(ctx context.Context, client dynamic.Interface) error {
	return eventually(ctx, func() error {
		list, err := client.Resource(crdResource).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, crd := range list.Items {
			if !conditionTrue(&crd, "Established") {
				return fmt.Errorf("%s is not established", crd.GetName())
			}
		}
		return nil
	})
}

// nodesReady is nil when these nodes are ready to run MiniPods: miniplane says so of its part, and Kubernetes has taken off
// the taint that every new Node has.
func nodesReady(ctx context.Context, client dynamic.Interface, names []string) error {
	for _, name := range names {
		node, err := client.Resource(miniNodeResource).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return fmt.Errorf("node %s has not registered", name)
		}
		if err != nil {
			return err
		}
		if !conditionTrue(node, "Ready") {
			return fmt.Errorf("node %s is not ready", name)
		}
		core, err := client.Resource(nodeResource).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		taints, _, _ := unstructured.NestedSlice(core.Object, "spec", "taints")
		if strings.Contains(fmt.Sprint(taints), "node.kubernetes.io/not-ready") {
			return fmt.Errorf("node %s still has the taints %v", name, taints)
		}
	}
	return nil
}

func conditionTrue(o *unstructured.Unstructured, conditionType string) bool {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, item := range conditions {
		condition, _ := item.(map[string]any)
		if condition["type"] == conditionType {
			return condition["status"] == "True"
		}
	}
	return false
}

// readyTimeout is the longest that anything takes to become ready on a busy machine.
const readyTimeout = 2 * time.Minute

// eventually asks until there is no error, none that could go away, or no time left, and returns the last one.
func eventually(ctx context.Context, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		err := check()
		if err == nil || errors.Is(err, errDied) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pollInterval):
		}
	}
}
