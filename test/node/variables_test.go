package node

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/grants"
)

// grant plays the manager: it gives the node's account the right to what a MiniPod names.
func (e *env) grant(pod *miniv1.MiniPod) {
	e.t.Helper()
	var node miniv1.MiniNode
	if err := e.api.Get(context.Background(), client.ObjectKey{Name: e.name}, &node); err != nil {
		e.t.Fatal(err)
	}
	e.ensureNamespace(miniv1.NodesNamespace)
	n := grants.Of(&node)
	role, binding := n.Role(e.namespace, grants.References(pod)), n.Binding(e.namespace)
	role.Name, binding.Name, binding.RoleRef.Name = "reads", "reads", "reads" // the other name is the manager's alone to give
	for _, o := range []client.Object{n.Account(), role, binding} {
		if err := e.api.Create(context.Background(), o); err != nil {
			e.t.Fatal(err)
		}
	}
}

// Variables come from what the namespace has, read as the node and with its rights alone. A container whose ConfigMap is missing waits, also over
// the death of its agent, starts when it comes, and can be deleted meanwhile.
func TestVariables(t *testing.T) {
	e := newEnv(t)
	uses := func(p *miniv1.MiniPod) {
		p.Labels = map[string]string{"app": "a"}
		p.Spec.Containers[0].EnvFrom = []miniv1.EnvFromSource{{Prefix: "S_", ConfigMapRef: &miniv1.ConfigMapEnvSource{Name: "settings"}}}
		p.Spec.Containers[0].Env = []miniv1.EnvVar{
			{Name: "PASSWORD", ValueFrom: &miniv1.EnvVarSource{SecretKeyRef: &miniv1.SecretKeySelector{Name: "keys", Key: "password"}}},
			{Name: "APP", ValueFrom: &miniv1.EnvVarSource{FieldRef: &miniv1.ObjectFieldSelector{FieldPath: "metadata.labels['app']"}}},
			{Name: "BOTH", Value: "$(S_colour)-$(PASSWORD)-$(APP)"},
		}
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "keys"}, Data: map[string][]byte{"password": []byte("p")}}
	if err := e.api.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	pod := e.sh("a", "echo has $BOTH; exec sleep 1000", uses)
	e.grant(pod)
	e.run(pod)
	e.run(e.sh("deleted", "exec sleep 1000", uses))
	for _, name := range []string{"a", "deleted"} {
		waiting := e.shows(name, miniv1.ReasonCreateContainerConfig).Status.ContainerStatuses[0].State.Waiting
		if !strings.Contains(waiting.Message, `configmap "settings" not found`) {
			t.Errorf("%s: %q", name, waiting.Message)
		}
	}
	e.delete("deleted")
	e.gone("deleted")
	e.kill()
	e.start()
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "settings"}, Data: map[string]string{"colour": "blue"}}
	if err := e.api.Create(t.Context(), settings); err != nil {
		t.Fatal(err)
	}
	pod = e.shows("a", "Running")
	e.until("it has its variables", func() bool { return strings.Contains(e.logOf(pod), "has blue-p-a") })
	e.delete("a")
	e.gone("a")
	e.clean()
}

// Variables come from a file that an init container wrote, on disk and in memory, and for each restart from what is there by then, under the next agent
// too. What a container makes of the file with its native rights, a link to the node's, a FIFO, a device or a directory, is told and not read.
func TestVariablesOfFiles(t *testing.T) {
	e := newEnv(t)
	from := func(name, volume, path string) miniv1.EnvVar {
		return miniv1.EnvVar{Name: name, ValueFrom: &miniv1.EnvVarSource{FileKeyRef: &miniv1.FileKeySelector{VolumeName: volume, Path: path, Key: name}}}
	}
	uses := func(p *miniv1.MiniPod) {
		p.Spec.Volumes = []miniv1.Volume{{Name: "disk", EmptyDir: &miniv1.EmptyDirVolumeSource{}}, {Name: "memory", EmptyDir: &miniv1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}}
		mounts := []miniv1.VolumeMount{{Name: "disk", MountPath: "/disk"}, {Name: "memory", MountPath: "/memory"}}
		p.Spec.InitContainers = []miniv1.Container{{Name: "writes", Image: "busybox:test", VolumeMounts: mounts,
			Command: []string{"/bin/busybox", "sh", "-c", `mkdir /disk/d; echo "A='on \$(disk)'" >/disk/d/a; echo "B='in memory'" >/memory/b`}}}
		p.Spec.Containers[0].Env = []miniv1.EnvVar{from("A", "disk", "d/a"), from("B", "memory", "b"), {Name: "BOTH", Value: "$(A), $(B)"}}
		p.Spec.Containers[0].VolumeMounts = mounts
	}
	e.run(e.sh("a", `echo "has $BOTH"; echo "B='later'" >/memory/b; until [ -e /disk/go ]; do sleep 0.1; done; rm /disk/go`, uses))
	pod := e.shows("a", "Running")
	e.until("it has its variables", func() bool { return strings.Contains(e.logOf(pod), "has on $(disk), in memory") })
	e.kill()
	e.start()
	volume := filepath.Join(e.rootDir(), "volumes", string(pod.UID), "disk")
	if err := os.WriteFile(filepath.Join(volume, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e.until("it has what is there now", func() bool { return strings.Contains(e.logOfContainer(pod, "main", 1), "has on $(disk), later") })
	for what, trap := range map[string]struct{ script, want string }{
		"link":      {"ln -s /etc/passwd /disk/d/a", "it leads out of the volume"},
		"fifo":      {"mkfifo /disk/d/a", "is not a regular file"},
		"device":    {"mknod /disk/d/a c 1 5", "is not a regular file"},
		"directory": {"mkdir /disk/d/a", "is not a regular file"},
		"huge":      {"dd if=/dev/zero of=/disk/d/a bs=1 count=1 seek=100G 2>/dev/null", "has more than 65536 bytes"},
	} {
		e.run(e.sh(what, "exec sleep 1000", uses, func(p *miniv1.MiniPod) {
			p.Spec.InitContainers[0].Command[3] = "mkdir /disk/d; " + trap.script
		}))
		waiting := e.shows(what, miniv1.ReasonCreateContainerConfig).Status.ContainerStatuses[0].State.Waiting
		if !strings.Contains(waiting.Message, `variable A: file "d/a" of volume "disk": `) || !strings.Contains(waiting.Message, trap.want) {
			t.Errorf("%s: %q", what, waiting.Message)
		}
		e.delete(what)
		e.gone(what)
	}
	e.delete("a")
	e.gone("a")
	e.clean()
}
