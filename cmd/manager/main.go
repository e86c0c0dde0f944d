// Command manager runs miniplane's scheduler and controllers against a Kubernetes API server.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

func main() {
	options := defaults()
	options.bind(flag.CommandLine)
	logging := zap.Options{}
	logging.BindFlags(flag.CommandLine)
	flag.Parse()
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&logging)))
	if err := run(ctrl.SetupSignalHandler(), options); err != nil {
		fmt.Fprintln(os.Stderr, "manager:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if err := o.validate(); err != nil {
		return err
	}
	if o.uninstall {
		return runUninstall(ctx)
	}
	config, scheme, err := connection()
	if err != nil {
		return err
	}
	work, err := newWork(ctx, config, scheme, o)
	if err != nil {
		return err
	}
	mgr, err := newManager(config, scheme, o, work)
	if err != nil {
		return err
	}
	return mgr.Start(ctx)
}
