package main

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"miniplane.dev/miniplane/internal/ranges"
)

// checkRanges fails when the cluster gives out addresses of our ranges itself.
func checkRanges(ctx context.Context, reader client.Reader, o options) error {
	nodes, err := nodeRanges(ctx, reader)
	if err != nil {
		return err
	}
	services, err := serviceRanges(ctx, reader)
	if err != nil {
		return err
	}
	ours := []ranges.Range{{Name: "--pod-cidr", Prefix: o.podCIDR}, {Name: "--service-cidr", Prefix: o.serviceCIDR}}
	return ranges.Check(ours, append(nodes, services...))
}

// nodeRanges are the nodes' addresses and the ranges of their native Pods.
func nodeRanges(ctx context.Context, reader client.Reader) ([]ranges.Range, error) {
	var list corev1.NodeList
	if err := reader.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("the cluster's ranges: nodes: %w", err)
	}
	var out []ranges.Range
	for _, node := range list.Items {
		for _, text := range node.Spec.PodCIDRs {
			if prefix, err := netip.ParsePrefix(text); err == nil {
				out = append(out, ranges.Range{Name: "the pod range of node " + node.Name, Prefix: prefix})
			}
		}
		for _, address := range node.Status.Addresses {
			if addr, err := netip.ParseAddr(address.Address); err == nil {
				out = append(out, ranges.Addr("the address of node "+node.Name, addr))
			}
		}
	}
	return out, nil
}

// serviceRanges are the ranges of native Services, or, where the cluster does not tell them, the address of its own API.
func serviceRanges(ctx context.Context, reader client.Reader) ([]ranges.Range, error) {
	var list networkingv1.ServiceCIDRList
	err := reader.List(ctx, &list)
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) { // before Kubernetes 1.33
		return kubernetesService(ctx, reader)
	}
	if err != nil {
		return nil, fmt.Errorf("the cluster's ranges: servicecidrs: %w", err)
	}
	var out []ranges.Range
	for _, item := range list.Items {
		for _, text := range item.Spec.CIDRs {
			if prefix, err := netip.ParsePrefix(text); err == nil {
				out = append(out, ranges.Range{Name: "the cluster's ServiceCIDR " + item.Name, Prefix: prefix})
			}
		}
	}
	return out, nil
}

func kubernetesService(ctx context.Context, reader client.Reader) ([]ranges.Range, error) {
	var service corev1.Service
	err := reader.Get(ctx, client.ObjectKey{Namespace: corev1.NamespaceDefault, Name: "kubernetes"}, &service)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the cluster's ranges: service kubernetes: %w", err)
	}
	addr, err := netip.ParseAddr(service.Spec.ClusterIP)
	if err != nil {
		return nil, fmt.Errorf("the cluster's ranges: service kubernetes: %w", err)
	}
	return []ranges.Range{ranges.Addr("the address of the Service kubernetes", addr)}, nil
}
