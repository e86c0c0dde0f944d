package main

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// applicationSpec is what an application is made of, for a Pod and a MiniPod alike: an init container that fills a volume, a file of a
// ConfigMap, a password of a Secret, a hook after the start, and a probe that sees what the hook did.
const applicationSpec = `
terminationGracePeriodSeconds: 1
volumes:
- name: data
  emptyDir: {}
- name: config
  configMap: {name: application}
initContainers:
- name: init
  image: IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, "cp /config/greeting /data/"]
  volumeMounts:
  - {name: data, mountPath: /data}
  - {name: config, mountPath: /config}
containers:
- name: main
  image: IMAGE
  imagePullPolicy: IfNotPresent
  command: [sleep, "` + marker + `"]
  env:
  - name: PASSWORD
    valueFrom: {secretKeyRef: {name: application, key: password}}
  volumeMounts:
  - {name: data, mountPath: /data}
  - {name: config, mountPath: /config}
  lifecycle:
    postStart:
      exec: {command: [touch, /data/started]}
  readinessProbe:
    exec: {command: [test, -e, /data/started, -a, -e, /data/greeting]}
    periodSeconds: 1
`

// applicationObjects makes the ConfigMap and the Secret of all applications.
func applicationObjects(ctx context.Context, b *bench) (undo func(), err error) {
	named := metav1.ObjectMeta{Namespace: b.namespace, Name: "application"}
	objects := []client.Object{
		&corev1.ConfigMap{ObjectMeta: named, Data: map[string]string{"greeting": "hello"}},
		&corev1.Secret{ObjectMeta: named, StringData: map[string]string{"password": "guess"}},
	}
	for _, object := range objects {
		if err := b.api.Create(ctx, object); err != nil {
			return nil, err
		}
	}
	return func() {
		for _, object := range objects {
			if err := b.api.Delete(context.WithoutCancel(ctx), object); client.IgnoreNotFound(err) != nil {
				say("cleaning up: %v", err)
			}
		}
	}, nil
}

// applications starts and ends applications one at a time, and waits until each is Ready.
func applications(ctx context.Context, b *bench, s side, round int) (samples, error) {
	t, err := b.track(ctx, s)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	spec := []byte(strings.ReplaceAll(applicationSpec, "IMAGE", b.image))
	found := samples{}
	for i, name := range podNames(b.singles, "app-%d", round) {
		pod, err := s.application(b.namespace, name, spec)
		if err != nil {
			return nil, err
		}
		sent := time.Now()
		if err := b.api.Create(ctx, pod); err != nil {
			return nil, err
		}
		if err := t.until(ctx, time.Minute, name, func() bool { return t.counts.ready == i+1 }); err != nil {
			return nil, err
		}
		found["application.latency"] = append(found["application.latency"], milliseconds(t.at(name).ready.Sub(sent)))
		if err := b.api.Delete(ctx, pod); client.IgnoreNotFound(err) != nil {
			return nil, err
		}
		if err := t.until(ctx, time.Minute, "end of "+name, func() bool { return t.counts.gone == i+1 }); err != nil {
			return nil, err
		}
	}
	return found, nil
}
