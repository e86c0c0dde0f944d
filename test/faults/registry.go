package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/hack/ociarchive"
	"miniplane.dev/miniplane/nodeagent/thread"
	"miniplane.dev/miniplane/test/liar"
)

const (
	// liarNet is the network that nodes see the registry in, liarHost its address there: hack/faults.sh tells the agents that it speaks plain HTTP.
	liarNet, liarHost = "mini-cp", "100.127.255.1:5001"
	// liarImage is what all of its images are made of.
	liarImage = ".local/images/echo.tar"
)

// lyingRegistry has MiniPods pull from a registry that lies to each of them in another way, and one from the same registry that it is honest to. People are told the
// registry's words of each lie; when it tells the truth, all of them run.
func lyingRegistry(ctx context.Context, w *world) (undo, error) {
	lying, err := newLiar()
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: lying, ReadHeaderTimeout: 10 * time.Second}
	if err := w.serveIn(liarNet, liarHost, server); err != nil {
		return nil, err
	}
	var sets []*miniv1.MiniDeployment
	end := func(ctx context.Context) error {
		var errs []error
		for _, set := range sets {
			errs = append(errs, client.IgnoreNotFound(w.api.Delete(ctx, set, client.PropagationPolicy("Background"))))
		}
		return errors.Join(errors.Join(errs...), w.waitPods(ctx, w.wild, 0), server.Close())
	}
	for _, repository := range append(repositories(), liar.Honest) {
		set := deployment(w.wild, repository, 1, liarHost+"/"+repository+":v1")
		set.Spec.Template.Spec.Containers[0].ImagePullPolicy = corev1.PullAlways
		sets = append(sets, set)
		if err := w.api.Create(ctx, set); err != nil {
			return end, err
		}
	}
	told := map[string]bool{}
	if err := eventually(ctx, patience, "the words of each lie", func() error { return w.liesTold(ctx, told) }); err != nil {
		return end, err
	}
	lying.Heal()
	return end, w.waitPods(ctx, w.wild, len(sets))
}

func repositories() (out []string) {
	for _, lie := range liar.Lies() {
		out = append(out, lie.Repository)
	}
	return out
}

// liesTold is nil when people have been told of each lie, and the MiniPod of the honest repository runs. Words that were seen once count: they are others while it is tried
// again.
func (w *world) liesTold(ctx context.Context, told map[string]bool) error {
	pods, err := w.minipods(ctx, w.wild)
	if err != nil {
		return err
	}
	for i := range pods {
		repository := pods[i].Labels["app"]
		for _, lie := range liar.Lies() {
			if lie.Repository == repository && !lie.Slow && strings.Contains(waitingWords(&pods[i]), lie.Words) {
				told[repository] = true
			}
		}
		if repository == liar.Honest && pods[i].Status.Phase == miniv1.PodRunning {
			told[repository] = true
		}
	}
	for _, lie := range liar.Lies() {
		if !lie.Slow && !told[lie.Repository] {
			return fmt.Errorf("nobody is told of %q by %q", lie.Repository, lie.Words)
		}
	}
	if !told[liar.Honest] {
		return errors.New("the MiniPod whose image is fine does not run")
	}
	return nil
}

func newLiar() (*liar.Registry, error) {
	dir, err := os.MkdirTemp("", "faults-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	images, err := ociarchive.Read(liarImage, dir)
	if err != nil || len(images) == 0 {
		return nil, fmt.Errorf("no image in %s: %w", liarImage, err)
	}
	return liar.New(images[0].Image)
}

// serveIn has a server listen in a network namespace of the machine.
func (w *world) serveIn(network, address string, server *http.Server) error {
	var listener net.Listener
	err := thread.Spend(func() error {
		there, err := netns.GetFromName(network)
		if err != nil {
			return err
		}
		defer func() { _ = there.Close() }()
		if err := netns.Set(there); err != nil {
			return err
		}
		listener, err = net.Listen("tcp4", address)
		return err
	})
	if err != nil {
		return fmt.Errorf("a registry in the network %s: %w", network, err)
	}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			say("the registry of lies: %v", err)
		}
	}()
	return nil
}
