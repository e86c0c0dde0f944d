package node

import (
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// TestAccount: a MiniPod that asks for it has a token of its ServiceAccount where clients of the API server look, in each container and as a native Pod's, and
// it is one; a container that has something there keeps that. The agent may die meanwhile.
func TestAccount(t *testing.T) {
	e := newEnv(t)
	const look = `cd /var/run/secrets/kubernetes.io/serviceaccount && echo $0: $(cat ca.crt) of $(cat namespace) $(stat -L -c %u:%g:%a token ca.crt namespace) &&
(echo x >new) 2>/dev/null || echo $0: nothing can be written; echo $0 token: $(cat token); `
	for _, o := range []client.Object{&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "robot"}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "kube-root-ca.crt"}, Data: map[string]string{"ca.crt": "authority", "other": "x"}}} {
		if err := e.api.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	pod := e.sh("a", "exec sleep 1000", func(p *miniv1.MiniPod) {
		p.Spec.ServiceAccountName, p.Spec.AutomountServiceAccountToken = "robot", new(true)
		p.Spec.Volumes = []miniv1.Volume{{Name: "own", EmptyDir: &miniv1.EmptyDirVolumeSource{}}}
		p.Spec.InitContainers = []miniv1.Container{{Name: "first", Image: "busybox:test", Command: []string{"/bin/busybox", "sh", "-c", look, "first"}}}
		p.Spec.Containers[0].Command = []string{"/bin/busybox", "sh", "-c", look + "exec sleep 1000", "main"}
		p.Spec.Containers = append(p.Spec.Containers, miniv1.Container{Name: "own", Image: "busybox:test",
			Command:      []string{"/bin/busybox", "sh", "-c", "cd /var/run/secrets/kubernetes.io/serviceaccount; echo own: $(ls -A | wc -l) files; exec sleep 1000"},
			VolumeMounts: []miniv1.VolumeMount{{Name: "own", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"}}})
	})
	e.grant(pod)
	e.run(pod)
	pod = e.shows("a", "Running")
	said := func(container, text string) (line string) {
		t.Helper()
		e.until(container+" says "+text, func() bool {
			lines := strings.Split(e.logOfContainer(pod, container, 0), "\n")
			at := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, text) })
			if at >= 0 {
				line = lines[at]
			}
			return at >= 0
		})
		return line
	}
	for name, container := range map[string]string{"first": "first", "main": pod.Spec.Containers[0].Name} {
		said(container, name+": authority of "+e.namespace+" 0:0:644 0:0:644 0:0:644")
		said(container, name+": nothing can be written")
		_, token, _ := strings.Cut(said(container, name+" token: "), "token: ")
		review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: strings.TrimSpace(token)}}
		if err := e.api.Create(t.Context(), review); err != nil {
			t.Fatal(err)
		}
		if got, want := review.Status.User.Username, "system:serviceaccount:"+e.namespace+":robot"; got != want {
			t.Errorf("the token of %s is %q's, want %q: %s", name, got, want, review.Status.Error)
		}
	}
	said("own", "own: 0 files")
	e.kill()
	e.start()
	e.delete("a")
	e.gone("a")
	e.clean()
}
