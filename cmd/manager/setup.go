package main

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers"
	"miniplane.dev/miniplane/controllers/uninstall"
	"miniplane.dev/miniplane/internal/patience"
)

// stopTimeout is how long writes that are under way may take once the manager is told to stop.
const stopTimeout = 5 * time.Second

// connection is the way to the API server, and the kinds that are spoken of.
func connection() (*rest.Config, *runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, miniv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, nil, err
		}
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, nil, err
	}
	// The API server's own priority and fairness is the limit, not the client's.
	config.QPS, config.Burst = -1, -1
	config.Wrap(patience.Wrapper(ctrl.Log.WithName("api")))
	return config, scheme, nil
}

// runUninstall empties the cluster, past any manager.
func runUninstall(ctx context.Context) error {
	config, scheme, err := connection()
	if err != nil {
		return err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	return uninstall.Run(ctx, c, ctrl.Log.WithName("uninstall"))
}

// newWork makes what only the leader runs: the cache, and the controllers that live on it.
func newWork(ctx context.Context, config *rest.Config, scheme *runtime.Scheme, o options) (ctrl.Manager, error) {
	timeout := stopTimeout
	work, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                  scheme,
		Cache:                   controllers.Cache(),
		Metrics:                 metricsserver.Options{BindAddress: "0"}, // newManager's serve those of the whole process
		GracefulShutdownTimeout: &timeout,
	})
	if err != nil {
		return nil, err
	}
	if err := checkRanges(ctx, work.GetAPIReader(), o); err != nil {
		return nil, err
	}
	return work, controllers.Setup(ctx, work, o.controllers())
}

// newManager makes what every manager runs: metrics, probes, and the election of the one that works. Who stands by costs the API
// server and the machine nothing: it fills its cache when it is elected, as kube-controller-manager does.
func newManager(config *rest.Config, scheme *runtime.Scheme, o options, work ctrl.Manager) (ctrl.Manager, error) {
	timeout := stopTimeout + time.Second // the work's own comes first
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Metrics:                       metricsserver.Options{BindAddress: o.metricsAddress},
		HealthProbeBindAddress:        o.healthAddress,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              miniv1.ManagerLease,
		LeaderElectionNamespace:       o.leaderElectNamespace,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &timeout,
	})
	if err != nil {
		return nil, err
	}
	if err := mgr.Add(manager.RunnableFunc(work.Start)); err != nil { // runs when elected
		return nil, err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, err
	}
	return mgr, mgr.AddReadyzCheck("cache", ready(mgr.Elected(), work.GetCache()))
}
