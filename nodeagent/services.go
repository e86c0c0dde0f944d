package nodeagent

import (
	"context"

	"github.com/go-logr/logr"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/proxy"
)

// followServices passes services, their endpoints and the node's host ports to the proxier, and returns when all that
// exist were passed.
func followServices(ctx context.Context, from cache.Cache, to *proxy.Proxier, log logr.Logger) error {
	follow := []struct {
		kind        client.Object
		set, forget func(client.Object)
	}{
		{&miniv1.MiniService{},
			func(o client.Object) { to.SetService(o.(*miniv1.MiniService)) },
			func(o client.Object) {
				to.DeleteService(types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()})
			}},
		{&discoveryv1.EndpointSlice{},
			func(o client.Object) { to.SetEndpointSlice(o.(*discoveryv1.EndpointSlice)) },
			func(o client.Object) { to.DeleteEndpointSlice(o.(*discoveryv1.EndpointSlice)) }},
		{&miniv1.MiniPod{},
			func(o client.Object) { to.SetHostPorts(string(o.GetUID()), proxy.HostPortsOf(o.(*miniv1.MiniPod))) },
			func(o client.Object) { to.SetHostPorts(string(o.GetUID()), nil) }},
	}
	var synced []toolscache.DoneChecker
	for _, f := range follow {
		informer, err := informerOf(ctx, from, f.kind, log)
		if err != nil {
			return err
		}
		handler, err := informer.AddEventHandler(handlerOf(f.set, f.forget))
		if err != nil {
			return err
		}
		synced = append(synced, handler.HasSyncedChecker())
	}
	if !toolscache.WaitFor(ctx, "", synced...) {
		return ctx.Err()
	}
	return nil
}

// handlerOf calls set for what is there and forget for what is gone, also when another object took its name unseen.
func handlerOf(set, forget func(client.Object)) toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { set(obj.(client.Object)) },
		UpdateFunc: func(before, obj any) {
			if old := before.(client.Object); old.GetUID() != obj.(client.Object).GetUID() {
				forget(old)
			}
			set(obj.(client.Object))
		},
		DeleteFunc: func(obj any) {
			if last, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
				obj = last.Obj
			}
			if gone, ok := obj.(client.Object); ok {
				forget(gone)
			}
		},
	}
}
