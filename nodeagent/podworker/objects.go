package podworker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"golang.org/x/sync/errgroup"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/grants"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/nodeagent/volumes"
)

// Follower tells of changes of what MiniPods use: of the version that an object has now, and of the empty one when it is gone. It tells
// from goroutines of its own, until it is stopped.
type Follower interface {
	Follow(ref grants.Reference, namespace string, tell func(version string)) (stop func())
}

// read reads objects, all at the same time. Those that are not there are missing in the answer, and are no error. Where one cannot be read the
// answer is empty.
func (p *Pool) read(ctx context.Context, namespace string, refs []grants.Reference) (volumes.Objects, error) {
	out := volumes.Objects{ConfigMaps: map[string]*corev1.ConfigMap{}, Secrets: map[string]*corev1.Secret{}}
	objects := make([]client.Object, len(refs))
	group, ctx := errgroup.WithContext(ctx)
	for i, ref := range refs {
		objects[i] = &corev1.ConfigMap{}
		if ref.Resource == grants.Secrets {
			objects[i] = &corev1.Secret{}
		}
		group.Go(func() error {
			err := p.Uses.Get(ctx, types.NamespacedName{Namespace: namespace, Name: ref.Name}, objects[i])
			if apierrors.IsNotFound(err) {
				objects[i] = nil
				return nil
			}
			if err != nil {
				return fmt.Errorf("%s %q: %w", ref.Resource, ref.Name, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return volumes.Objects{}, err
	}
	for i, ref := range refs {
		switch object := objects[i].(type) {
		case *corev1.ConfigMap:
			out.ConfigMaps[ref.Name] = object
		case *corev1.Secret:
			out.Secrets[ref.Name] = object
		}
	}
	return out, nil
}

// dropObjects forgets what the variables of a container come from: the next one reads anew.
func (v *view) dropObjects(container string) {
	v.SetJob(podplan.EnvironmentTask(container), "")
	delete(v.objects, container)
}

// dropFar forgets what was read for containers that are not made soon: as many MiniPods as there are may wait for an image for ever.
func (w *worker) dropFar(desired *miniv1.MiniPod) {
	for name := range w.observed.objects {
		if desired == nil || !w.observed.Near(desired, podplan.ContainerNamed(desired, name)) {
			w.observed.dropObjects(name)
		}
	}
}

// readEnvironment has read what the variables of a container come from, as a job.
func (w *worker) readEnvironment(desired *miniv1.MiniPod, a podplan.Action) change {
	c := podplan.ContainerNamed(desired, a.Container)
	refs := grants.OfContainer(c)
	return func(o *view) {
		o.SetJob(podplan.EnvironmentTask(c.Name), podplan.JobRunning)
		w.beside(func() change {
			objects, err := w.pool.read(w.pullContext, desired.Namespace, refs)
			if err == nil { // what is missing is told now, and not by the container's making
				_, _, err = environment(desired, c, Facts{}, objects)
			}
			return func(*view) { w.finishEnvironment(desired, a, objects, err) }
		})
	}
}

// finishEnvironment notes the end of the reading, if it is still wanted.
func (w *worker) finishEnvironment(desired *miniv1.MiniPod, a podplan.Action, objects volumes.Objects, err error) {
	task := podplan.EnvironmentTask(a.Container)
	if w.observed.Jobs[task] != podplan.JobRunning {
		return
	}
	w.used(grants.OfContainer(podplan.ContainerNamed(desired, a.Container)), objects)
	switch {
	case err == nil:
		w.observed.SetJob(task, podplan.JobDone)
		if w.observed.objects == nil {
			w.observed.objects = map[string]volumes.Objects{}
		}
		w.observed.objects[a.Container] = objects
	case errors.Is(err, context.Canceled):
		w.observed.SetJob(task, "")
	default:
		w.observed.SetJob(task, "")
		w.pool.Log.Info("Cannot make a container's environment; trying again later", "pod", w.uid, "container", a.Container, "err", wordsOf(err))
		w.observed.Failed(desired, a, miniv1.ReasonCreateContainerConfig, wordsOf(err), w.pool.Clock.Now())
	}
}

// followed is an object of which the worker is told: of which version last.
type followed struct {
	stop func()
	told string
}

// used notes which versions were read. Of what has changed since by then there was news already. That nothing could be read is no news: it would
// be tried again at once, and so on, for as long as the API server is away.
func (w *worker) used(refs []grants.Reference, objects volumes.Objects) {
	if objects.ConfigMaps == nil {
		return
	}
	for _, ref := range refs {
		if w.versions == nil {
			w.versions = map[grants.Reference]string{}
		}
		w.versions[ref] = objects.Version(ref)
		if f := w.following[ref]; f != nil && newer(f.told, w.versions[ref]) {
			w.objectChanged(ref, f.told)
		}
	}
}

// newer tells whether a version is another one than that which was used, and not an older one.
func newer(told, used string) bool {
	t, errTold := strconv.ParseUint(told, 10, 64)
	u, errUsed := strconv.ParseUint(used, 10, 64)
	return told != "" && (errTold != nil || errUsed != nil || t > u)
}

// follow hears of what is waited for, and of nothing else: MiniPods that use nothing, or have all that they use, cost nothing.
func (w *worker) follow(desired *miniv1.MiniPod) {
	if w.pool.Changes == nil {
		return
	}
	wanted := w.awaited(desired)
	for ref, f := range w.following {
		if !wanted[ref] {
			f.stop()
			delete(w.following, ref)
		}
	}
	for ref := range wanted {
		if w.following[ref] == nil {
			f := &followed{}
			w.following[ref] = f
			f.stop = w.pool.Changes.Follow(ref, desired.Namespace, func(version string) {
				w.tell(func(in *inbox) {
					in.ended = append(in.ended, func(*view) { w.objectChanged(ref, version) })
				})
			})
		}
	}
}

// awaited are the objects whose changes matter now.
func (w *worker) awaited(desired *miniv1.MiniPod) map[grants.Reference]bool {
	if desired == nil || podstate.IsDeleting(desired) || podstate.IsFinished(desired) {
		return nil
	}
	var out map[grants.Reference]bool
	add := func(refs []grants.Reference) {
		for _, ref := range refs {
			if !ref.Watch { // as a token, which is no object
				continue
			}
			if out == nil {
				out = map[grants.Reference]bool{}
			}
			out[ref] = true
		}
	}
	if w.observed.Jobs[podplan.VolumesTask] != "" || w.observed.Failures[podplan.VolumesTask].Count > 0 {
		add(grants.OfVolumes(&desired.Spec))
	}
	if len(w.observed.Failures) > 0 {
		for _, c := range desired.Spec.AllContainers() {
			if w.observed.Failures[podplan.ContainerTask(c.Name)].Reason == miniv1.ReasonCreateContainerConfig {
				add(grants.OfContainer(c))
			}
		}
	}
	return out
}

// objectChanged tries again what waits for an object.
func (w *worker) objectChanged(ref grants.Reference, version string) {
	f, desired := w.following[ref], w.latest()
	if f == nil || desired == nil {
		return
	}
	read := w.versions[ref]
	gone := version == "" && read != "" // which matters to files that are optional, and to nothing else
	if f.told = version; !gone && !newer(version, read) {
		return
	}
	if slices.Contains(grants.OfVolumes(&desired.Spec), ref) {
		w.observed.Outdate(podplan.VolumesTask)
		w.observed.TryAgain(podplan.VolumesTask)
	}
	if gone {
		return
	}
	for _, c := range desired.Spec.AllContainers() {
		for _, its := range grants.OfContainer(c) {
			if its == ref {
				w.observed.TryAgain(podplan.ContainerTask(c.Name))
			}
		}
	}
}

// unfollow stops hearing of anything.
func (w *worker) unfollow() {
	for ref, f := range w.following {
		f.stop()
		delete(w.following, ref)
	}
}
