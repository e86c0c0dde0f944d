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

func newManager(o options) (ctrl.Manager, error) {
	config, scheme, err := connection()
	if err != nil {
		return nil, err
	}
	timeout := stopTimeout
	return ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Cache:                         controllers.Cache(),
		Metrics:                       metricsserver.Options{BindAddress: o.metricsAddress},
		HealthProbeBindAddress:        o.healthAddress,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              "miniplane-manager",
		LeaderElectionNamespace:       o.leaderElectNamespace,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &timeout,
	})
}

// setup adds the controllers and the probes: alive as long as the process answers, ready once the cache has seen everything.
func setup(ctx context.Context, mgr ctrl.Manager, o options) error {
	if err := controllers.Setup(ctx, mgr, o.controllers()); err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	return mgr.AddReadyzCheck("cache", synced(mgr))
}
