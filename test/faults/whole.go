package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

const (
	// wholes is how many MiniPods with all that a MiniPod can have come and go at most.
	wholes = 6
	// fewestLives is of how many of them the whole life must have been seen in a run.
	fewestLives = 5
	// witnessRoot is where the machine keeps what goes with the cluster.
	witnessRoot = "/run/miniplane-local"
)

// wholeSpec is a MiniPod with everything: two init containers with a sidecar between them, postStart and preStop, three kinds of probes, and a volume of each kind
// of source. What its programs do, they write down in a file of the machine, with the MiniPod's UID: a line is written at once or not at all.
const wholeSpec = `
terminationGracePeriodSeconds: 30
volumes:
- {name: notes, hostPath: {path: WITNESS, type: Directory}}
- {name: scratch, emptyDir: {}}
- {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
- {name: settings, configMap: {name: NAME}}
- {name: login, secret: {secretName: NAME}}
- {name: access, projected: {sources: [{serviceAccountToken: {path: token}}, {configMap: {name: NAME}}]}}
- {name: about, downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}
- {name: image, image: {reference: "IMAGE", pullPolicy: IfNotPresent}}
initContainers:
- name: first
  command: [sh, -c, 'echo $ID first >>/notes/log; echo made >/scratch/made']
- name: side
  restartPolicy: Always
  command: [sh, -c, 'echo $ID side >>/notes/log; trap "echo $ID side-term >>/notes/log; exit 0" TERM; touch /memory/side; sleep 3600 & wait']
  startupProbe: {exec: {command: [test, -e, /memory/side]}, periodSeconds: 1, timeoutSeconds: 20, failureThreshold: 60}
- name: second
  command: [sh, -c, 'echo $ID second >>/notes/log; test -e /memory/side && test -e /scratch/made']
containers:
- name: main
  command:
  - sh
  - -c
  - |
    [ "$(cat /scratch/made /settings/colour /access/colour /login/key)" = "$(printf 'made\nblue\nblue\nsecret')" ] && [ -s /access/token ] &&
      [ -s /about/name ] && [ -x /image/bin/busybox ] || echo $ID wrong-volumes >>/notes/log
    echo $ID main >>/notes/log
    trap "echo $ID term >>/notes/log; exit 0" TERM
    touch /memory/main
    sleep 3600 & wait
  lifecycle:
    postStart: {exec: {command: [sh, -c, 'echo $ID postStart >>/notes/log; sleep 0.3']}}
    preStop: {exec: {command: [sh, -c, 'echo $ID preStop >>/notes/log; sleep 0.3']}}
  startupProbe: {exec: {command: [test, -e, /memory/main]}, periodSeconds: 1, timeoutSeconds: 20, failureThreshold: 60}
  readinessProbe: {exec: {command: [cat, /settings/colour, /login/key]}, periodSeconds: 1, timeoutSeconds: 20}
  livenessProbe: {exec: {command: ["true"]}, periodSeconds: 1, timeoutSeconds: 20, failureThreshold: 60}
`

// whole is a MiniDeployment of these, and what they refer to.
func (w *world) whole(name, witness string) (*miniv1.MiniDeployment, []client.Object, error) {
	text := strings.NewReplacer("WITNESS", witness, "NAME", name, "IMAGE", imageQuiet).Replace(wholeSpec)
	var spec miniv1.MiniPodSpec
	if err := yaml.UnmarshalStrict([]byte(text), &spec); err != nil {
		return nil, nil, err
	}
	mounts := []miniv1.VolumeMount{}
	for _, v := range spec.Volumes {
		mounts = append(mounts, miniv1.VolumeMount{Name: v.Name, MountPath: "/" + v.Name})
	}
	for _, c := range spec.AllContainers() {
		c.Image, c.ImagePullPolicy, c.VolumeMounts = imageQuiet, corev1.PullIfNotPresent, mounts
		c.Env = []miniv1.EnvVar{{Name: "ID", ValueFrom: &miniv1.EnvVarSource{FieldRef: &miniv1.ObjectFieldSelector{FieldPath: "metadata.uid"}}}}
	}
	set := deployment(w.wild, name, 0, imageQuiet)
	set.Spec.Template.Spec = spec
	return set, w.objectsOf(name), nil
}

// objectsOf are a ConfigMap and a Secret of this name.
func (w *world) objectsOf(name string) []client.Object {
	about := metav1.ObjectMeta{Namespace: w.wild, Name: name}
	return []client.Object{
		&corev1.ConfigMap{ObjectMeta: about, Data: map[string]string{"colour": "blue\n"}},
		&corev1.Secret{ObjectMeta: about, StringData: map[string]string{"key": "secret\n"}},
	}
}

// wholeChurn has such MiniPods come and go, and says at its end what was wrong with their lives.
func wholeChurn(ctx context.Context, w *world) (undo, error) {
	witness, err := os.MkdirTemp(witnessRoot, "faults-")
	if err != nil {
		return nil, err
	}
	set, objects, err := w.whole("whole", witness)
	end := func(ctx context.Context) error {
		return errors.Join(w.remove(ctx, set), w.deleteAll(ctx, objects), judgeFile(filepath.Join(witness, "log")), os.RemoveAll(witness))
	}
	if err == nil {
		err = w.createAll(ctx, append(objects, set))
	}
	if err != nil {
		return end, err
	}
	scaling, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for w.scale(scaling, set, rand.IntN(wholes+1)) == nil || scaling.Err() == nil { // the API server may be away
			if rest(scaling, 12*time.Second, true) != nil {
				return
			}
		}
	}()
	return func(ctx context.Context) error {
		stop()
		<-done
		return end(ctx)
	}, nil
}

func (w *world) createAll(ctx context.Context, objects []client.Object) error {
	for _, object := range objects {
		if err := w.api.Create(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) deleteAll(ctx context.Context, objects []client.Object) error {
	var errs []error
	for _, object := range objects {
		errs = append(errs, eventually(ctx, patience, "deleting "+object.GetName(), func() error {
			return client.IgnoreNotFound(w.api.Delete(ctx, object))
		}))
	}
	return errors.Join(errs...)
}

// judgeFile reads what MiniPods wrote down, when all are gone.
func judgeFile(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("no MiniPod wrote anything down: %w", err)
	}
	lives, err := judge(strings.Split(string(data), "\n"))
	if lives < fewestLives {
		err = errors.Join(err, fmt.Errorf("%d whole lives of MiniPods were seen, which is less than %d and proves little", lives, fewestLives))
	}
	say("%d whole lives of MiniPods with everything", lives)
	return err
}

// judge holds what MiniPods wrote down against what may be: everything that is done once is done once, whoever was the agent, in its order; a postStart is not run again;
// and who is asked to end had its preStop before. It counts the MiniPods whose whole lives were seen.
func judge(lines []string) (lives int, err error) {
	done := map[string][]string{}
	for _, line := range lines {
		if uid, what, ok := strings.Cut(line, " "); ok {
			done[uid] = append(done[uid], what)
		}
	}
	var errs []error
	for uid, did := range done {
		if problem := judgeOne(did); problem != "" {
			errs = append(errs, fmt.Errorf("MiniPod %s: %s: %s", uid, problem, strings.Join(did, ", ")))
		}
		if slices.Contains(did, "main") && slices.Contains(did, "term") && slices.Contains(did, "side-term") {
			lives++
		}
	}
	return lives, errors.Join(errs...)
}

// order is in which MiniPods do things; of preStop it is said apart, for it may be run again.
var order = []string{"first", "side", "second", "main", "term", "side-term"}

func judgeOne(did []string) string {
	for _, once := range append([]string{"postStart"}, order...) {
		first := slices.Index(did, once)
		if first >= 0 && slices.Contains(did[first+1:], once) {
			return once + " was done twice"
		}
	}
	if slices.Contains(did, "wrong-volumes") {
		return "its volumes were not what they should be"
	}
	last := -1
	for _, step := range order {
		at := slices.Index(did, step)
		if at >= 0 && at < last {
			return step + " came too early"
		}
		last = max(last, at)
	}
	stop, term := slices.Index(did, "preStop"), slices.Index(did, "term")
	if term >= 0 && (stop < 0 || stop > term) {
		return "it was asked to end before its preStop"
	}
	for _, needed := range []string{"first", "side", "second"} {
		if slices.Contains(did, "main") && !slices.Contains(did, needed) {
			return needed + " was left out"
		}
	}
	return ""
}
