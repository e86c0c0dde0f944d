package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"sigs.k8s.io/yaml"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

// readers is how many MiniPods have the objects mounted that are deleted.
const readers = 3

// readerSpec is ready as long as it can read both, and ends when it cannot when it begins.
const readerSpec = `
terminationGracePeriodSeconds: 1
volumes:
- {name: settings, configMap: {name: reads}}
- {name: login, secret: {secretName: reads}}
containers:
- name: main
  image: IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'grep -q blue /settings/colour && grep -q secret /login/key && exec sleep 31536000']
  volumeMounts: [{name: settings, mountPath: /settings}, {name: login, mountPath: /login}]
  readinessProbe: {exec: {command: [grep, -q, blue, /settings/colour]}, periodSeconds: 1, timeoutSeconds: 20}
`

// deleteObjects deletes the ConfigMap and the Secret that MiniPods have mounted. Those go on, also when the agent is another, and when their containers
// end and are started again; a new one waits, and says for what; and it runs when they are back.
func deleteObjects(ctx context.Context, w *world) (undo, error) {
	set, objects := deployment(w.wild, "reads", readers, imageQuiet), w.objectsOf("reads")
	if err := yaml.UnmarshalStrict([]byte(strings.ReplaceAll(readerSpec, "IMAGE", imageQuiet)), &set.Spec.Template.Spec); err != nil {
		return nil, err
	}
	back := func(ctx context.Context) error {
		err := w.createAll(ctx, w.objectsOf("reads"))
		if err == nil {
			err = w.waitPods(ctx, w.wild, readers+1)
		}
		return errors.Join(err, w.remove(ctx, set), w.deleteAll(ctx, objects))
	}
	gone := func(ctx context.Context) error { return errors.Join(w.remove(ctx, set), w.deleteAll(ctx, objects)) }
	if err := w.createAll(ctx, append(objects, set)); err != nil {
		return gone, err
	}
	if err := w.waitPods(ctx, w.wild, readers); err != nil {
		return gone, err
	}
	old, err := w.minipods(ctx, w.wild)
	if err != nil {
		return gone, err
	}
	if err := w.deleteAll(ctx, objects); err != nil {
		return back, err
	}
	steps := []func() error{
		func() error { return w.scale(ctx, set, readers+1) },
		func() error { return w.newWaits(ctx, old) },
		func() error { return w.endContainer(ctx, &old[0]) },
		func() error { _, err := killAgent(ctx, w); return err },
		func() error { return w.restartedOnce(ctx, &old[0]) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return back, err
		}
	}
	return back, nil
}

// newWaits waits until the MiniPod that is not among the old ones says what is missing.
func (w *world) newWaits(ctx context.Context, old []miniv1.MiniPod) error {
	was := map[string]bool{}
	for i := range old {
		was[old[i].Name] = true
	}
	return eventually(ctx, patience, "a new MiniPod that says what it waits for", func() error {
		pods, err := w.minipods(ctx, w.wild)
		for i := range pods {
			if words := waitingWords(&pods[i]); !was[pods[i].Name] {
				if strings.Contains(words, `"reads" not found`) {
					return nil
				}
				err = fmt.Errorf("it says %q", words)
			}
		}
		return errors.Join(err, errors.New("it does not"))
	})
}

// waitingWords are what the first container says that waits.
func waitingWords(pod *miniv1.MiniPod) string {
	for _, c := range pod.Status.ContainerStatuses {
		if c.State.Waiting != nil {
			return c.State.Waiting.Message
		}
	}
	return ""
}

// endContainer kills the first process of a MiniPod's container.
func (w *world) endContainer(_ context.Context, pod *miniv1.MiniPod) error {
	for _, parent := range w.kernel.parents {
		groups, _ := filepath.Glob(filepath.Join(hierarchy(), parent, "pod"+string(pod.UID), "*", "cgroup.procs"))
		for _, group := range groups {
			data, _ := os.ReadFile(group)
			for field := range strings.FieldsSeq(string(data)) {
				if pid, err := strconv.Atoi(field); err == nil {
					return syscall.Kill(pid, syscall.SIGKILL)
				}
			}
		}
	}
	return fmt.Errorf("%s has no process", pod.Name)
}

// restartedOnce waits until the container that was ended runs again, with what is still mounted, and all others never stopped.
func (w *world) restartedOnce(ctx context.Context, ended *miniv1.MiniPod) error {
	return eventually(ctx, patience, "MiniPods that have the objects mounted", func() error {
		pods, err := w.minipods(ctx, w.wild)
		ready := 0
		for i := range pods {
			restarts := int32(0)
			if pods[i].Name == ended.Name {
				restarts = 1
			}
			switch {
			case waitingWords(&pods[i]) != "" && pods[i].Status.Restarts == 0 && pods[i].Name != ended.Name: // the new one
			case pods[i].Status.Restarts != restarts:
				err = errors.Join(err, fmt.Errorf("%s was restarted %d times, and not %d", pods[i].Name, pods[i].Status.Restarts, restarts))
			case podstate.IsReady(&pods[i]):
				ready++
			}
		}
		if ready != readers {
			err = errors.Join(err, fmt.Errorf("%d ready of %d", ready, readers))
		}
		return err
	})
}

// objectsStillAway is nil when those that have the objects mounted are ready, and the new one waits.
func objectsStillAway(ctx context.Context, w *world) error {
	pods, err := w.minipods(ctx, w.wild)
	ready, waiting := 0, 0
	for i := range pods {
		switch {
		case podstate.IsReady(&pods[i]):
			ready++
		case strings.Contains(waitingWords(&pods[i]), `"reads" not found`):
			waiting++
		}
	}
	if err == nil && (ready != readers || waiting != 1) {
		err = fmt.Errorf("%d MiniPods are ready, and %d wait for what is deleted; want %d and 1", ready, waiting, readers)
	}
	return err
}
