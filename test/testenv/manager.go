package testenv

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"miniplane.dev/miniplane/internal/index"
	"miniplane.dev/miniplane/test/slow"
)

// StartManager runs a manager with the controllers that setup adds, until the test ends or stop is called, which waits for
// its end. ByObject is what the controllers need the cache to hold.
func StartManager(t *testing.T, setup func(ctrl.Manager) error, byObject ...map[client.Object]cache.ByObject) (stop func()) {
	t.Helper()
	cfg, _ := Start(t)
	merged := map[client.Object]cache.ByObject{}
	for _, part := range byObject {
		maps.Copy(merged, part)
	}
	skip := true
	ctrl.SetLogger(logger())
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme:     Scheme(),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Cache:      cache.Options{ByObject: merged},
		Controller: ctrlconfig.Controller{SkipNameValidation: &skip},
	})
	if err != nil {
		t.Fatalf("testenv: manager: %v", err)
	}
	if err := errors.Join(index.Setup(t.Context(), mgr.GetFieldIndexer()), setup(mgr)); err != nil {
		t.Fatalf("testenv: setup: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("testenv: the manager ended: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// logger writes to stderr what controllers log, in verbose runs.
func logger() logr.Logger {
	if !testing.Verbose() {
		return logr.Discard()
	}
	return funcr.New(func(prefix, args string) { fmt.Fprintln(os.Stderr, prefix, args) }, funcr.Options{})
}

// Eventually waits, up to 20 s, until a watched-for state holds; what tells what is still missing, and is "" when it holds.
func Eventually(t *testing.T, what func() string) {
	t.Helper()
	deadline := time.Now().Add(slow.By(20 * time.Second))
	for missing := what(); missing != ""; missing = what() {
		if time.Now().After(deadline) {
			t.Fatalf("still after 20 s: %s", missing)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Never checks, for the time given, that a state does not come about; what tells what did, or is "".
func Never(t *testing.T, during time.Duration, what func() string) {
	t.Helper()
	for deadline := time.Now().Add(during); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if happened := what(); happened != "" {
			t.Fatalf("happened: %s", happened)
		}
	}
}
