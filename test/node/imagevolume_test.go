package node

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/containerdenv"
)

// TestImageVolume: a container has the files of an image, of which it can neither write nor run one; they stay when the image goes, when the agent dies, and when the
// container is restarted; and nothing of it is kept when the MiniPod goes.
func TestImageVolume(t *testing.T) {
	for name, flags := range shims {
		t.Run(name, func(t *testing.T) { testImageVolume(t, newEnv(t, flags...)) })
	}
}

// dataImage has what a container may want, and what it must not get.
func dataImage(t *testing.T, e *env) {
	t.Helper()
	e.containerd.ImportImage(t, "docker.io/library/data:test", containerdenv.Image(t, v1.Config{}, containerdenv.File{Path: "models/", Mode: 0o755},
		containerdenv.File{Path: "models/one", Mode: 0o644, Data: []byte("weights")}, containerdenv.File{Path: "run", Mode: 0o4755, Data: []byte("#!/bin/sh\necho IT RUNS\n")}))
}

func mountsImage(p *miniv1.MiniPod) {
	p.Spec.Volumes = []miniv1.Volume{{Name: "data", Image: &miniv1.ImageVolumeSource{Reference: "data:test"}}}
	p.Spec.Containers[0].VolumeMounts = []miniv1.VolumeMount{{Name: "data", MountPath: "/data"}, {Name: "data", MountPath: "/part", SubPath: "models"}}
}

func testImageVolume(t *testing.T, e *env) {
	t.Helper()
	e.run(e.sh("a", `echo $(cat /data/models/one) $(cat /part/one); echo x 2>/dev/null >/data/models/one || echo x 2>/dev/null >/part/x || echo cannot write
/data/run 2>/dev/null || echo cannot run; while ! [ -e /go/again ]; do sleep 0.1; done; rm /go/again; exit 1`, mountsImage, func(p *miniv1.MiniPod) {
		p.Spec.Volumes = append(p.Spec.Volumes, miniv1.Volume{Name: "go", EmptyDir: &miniv1.EmptyDirVolumeSource{}})
		p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, miniv1.VolumeMount{Name: "go", MountPath: "/go"})
	}))
	e.until("it waits for the image", func() bool {
		now := e.get("a").Status.ContainerStatuses
		return len(now) > 0 && now[0].State.Waiting != nil && strings.Contains(now[0].State.Waiting.Message, `volume "data": pull`)
	})
	dataImage(t, e)
	pod := e.shows("a", "Running")
	e.until("it says what it sees", func() bool {
		log := e.logOf(pod)
		return strings.Contains(log, "weights weights\n") && strings.Contains(log, "cannot write\n") && strings.Contains(log, "cannot run\n")
	})
	if strings.Contains(e.logOf(pod), "IT RUNS") {
		t.Error(e.logOf(pod))
	}
	c := e.containerd.Client(t)
	defer c.Close()
	ctx := namespaces.WithNamespace(context.Background(), containerdenv.Namespace)
	if err := c.ImageService().Delete(ctx, "docker.io/library/data:test", images.SynchronousDelete()); err != nil { // and collects what nothing refers to
		t.Fatal(err)
	}
	e.kill()
	e.start()
	if err := os.WriteFile(filepath.Join(e.rootDir(), "volumes", string(pod.UID), "go", "again"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e.until("it was restarted and sees the same", func() bool {
		pod = e.get("a")
		return pod.Status.Restarts > 0 && strings.Contains(e.logOf(pod), "weights weights\n")
	})
	e.run(e.sh("never", "exit 0", mountsImage, func(p *miniv1.MiniPod) { p.Spec.Volumes[0].Image.PullPolicy = corev1.PullNever }))
	e.until("another one does not get what is only kept", func() bool {
		now := e.get("never").Status.ContainerStatuses
		return len(now) > 0 && now[0].State.Waiting != nil && strings.Contains(now[0].State.Waiting.Message, "pullPolicy is Never")
	})
	for _, name := range []string{"a", "never"} {
		e.delete(name)
		e.gone(name)
	}
	e.clean()
	held, err := c.LeasesService().List(ctx)
	if err != nil || len(held) > 0 {
		t.Errorf("leases: %v, %v", held, err)
	}
}

// TestImageGone: what was kept for a MiniPod that went while no agent ran, and whose mounts a start of the machine took, is given back by the next agent.
func TestImageGone(t *testing.T) {
	e := newEnv(t)
	dataImage(t, e)
	e.run(e.sh("a", "sleep 1000", mountsImage))
	pod := e.shows("a", "Running")
	e.kill()
	pod.Finalizers = nil
	if err := e.api.Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	e.delete("a")
	e.gone("a")
	e.start()
	e.clean()
	c := e.containerd.Client(t)
	defer c.Close()
	e.until("nothing is kept", func() bool {
		held, err := c.LeasesService().List(namespaces.WithNamespace(context.Background(), containerdenv.Namespace))
		return err == nil && len(held) == 0
	})
}
