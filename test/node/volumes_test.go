package node

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// TestVolumes: an application with an init step, a ConfigMap, a Secret, what it knows of itself, a directory on disk and one in memory.
func TestVolumes(t *testing.T) {
	for name, flags := range shims {
		t.Run(name, func(t *testing.T) { testVolumes(t, newEnv(t, flags...)) })
	}
}

// application has a volume of each kind.
func application(p *miniv1.MiniPod) {
	user, group, secret := int64(1000), int64(2000), int32(0o400)
	size := resource.MustParse("1Mi")
	p.Labels = map[string]string{"app": "web"}
	p.Spec.SecurityContext = &miniv1.PodSecurityContext{RunAsUser: &user, RunAsGroup: &user, FSGroup: &group}
	p.Spec.Volumes = []miniv1.Volume{
		{Name: "data", EmptyDir: &miniv1.EmptyDirVolumeSource{}},
		{Name: "memory", EmptyDir: &miniv1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: &size}},
		{Name: "settings", ConfigMap: &miniv1.ConfigMapVolumeSource{Name: "settings"}},
		{Name: "keys", Secret: &miniv1.SecretVolumeSource{SecretName: "keys", DefaultMode: &secret}},
		{Name: "about", DownwardAPI: &miniv1.DownwardAPIVolumeSource{Items: []miniv1.DownwardAPIVolumeFile{
			{Path: "labels", FieldRef: &miniv1.FileFieldSelector{FieldPath: "metadata.labels"}}}}},
		{Name: "all", Projected: &miniv1.ProjectedVolumeSource{Sources: []miniv1.VolumeProjection{
			{Secret: &miniv1.SecretProjection{Name: "keys", Items: []miniv1.KeyToPath{{Key: "password", Path: "deep/er/password"}}}},
			{ServiceAccountToken: &miniv1.ServiceAccountTokenProjection{Path: "token"}},
			{ConfigMap: &miniv1.ConfigMapProjection{Name: "settings"}}}}},
	}
	mount := func(name, path string) miniv1.VolumeMount { return miniv1.VolumeMount{Name: name, MountPath: path} }
	sub := func(m miniv1.VolumeMount, path string) miniv1.VolumeMount { m.SubPath = path; return m }
	p.Spec.Containers[0].VolumeMounts = []miniv1.VolumeMount{mount("data", "/data"), mount("memory", "/memory"), mount("settings", "/etc/settings"),
		mount("keys", "/keys"), mount("about", "/about"), mount("all", "/all"), sub(mount("data", "/part"), "made/part"), sub(mount("settings", "/etc/one"), "colour")}
	p.Spec.InitContainers = []miniv1.Container{{Name: "prepare", Image: "busybox:test",
		Command:      []string{"/bin/busybox", "sh", "-c", "umask 077; echo prepared >/data/it; echo in it >/part/file"},
		VolumeMounts: []miniv1.VolumeMount{mount("data", "/data"), sub(mount("data", "/part"), "made/part")}}}
}

// looksAround says what it finds, and then each new colour.
const looksAround = `
echo data: $(cat /data/it) $(cat /data/made/part/file) $(stat -c %g:%a /data) $(stat -c %g /data/it)
echo groups: $(id -G)
echo settings: $(cat /etc/settings/colour) $(cat /etc/one) $(stat -L -c %g:%a /etc/settings/colour)
echo keys: $(cat /keys/password) $(stat -L -c %u:%g:%a /keys/password)
echo about: $(cat /about/labels)
echo all: $(cat /all/deep/er/password) $(cat /all/colour)
echo token: $(wc -w </all/token) $(stat -L -c %u:%g:%a /all/token)
echo x 2>/dev/null >/etc/settings/new || echo settings cannot be written
mkdir /data/mine && echo data can be written
dd if=/dev/zero of=/memory/big bs=1M count=3 2>/dev/null || echo memory ends at $(stat -c %s /memory/big)
last=
while :; do now=$(cat /etc/settings/colour 2>/dev/null); [ "$now" = "$last" ] || echo "colour is $now"; last=$now; sleep 0.1; done`

func testVolumes(t *testing.T, e *env) {
	t.Helper()
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "settings"}, Data: map[string]string{"colour": "blue"}}
	keys := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "keys"}, Data: map[string][]byte{"password": []byte("p")}}
	for _, o := range []client.Object{keys, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "default"}}} {
		if err := e.api.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	pod := e.sh("a", looksAround, application)
	e.grant(pod)
	e.run(pod)
	e.until("it says what it waits for", func() bool {
		now := e.get("a")
		return len(now.Status.InitContainerStatuses) > 0 && now.Status.InitContainerStatuses[0].State.Waiting != nil &&
			strings.Contains(now.Status.InitContainerStatuses[0].State.Waiting.Message, `configmap "settings" not found`)
	})
	e.kill()
	e.start()
	if err := e.api.Create(t.Context(), settings); err != nil {
		t.Fatal(err)
	}
	pod = e.shows("a", "Running")
	said := func(text string) {
		t.Helper()
		e.until("it says: "+text, func() bool { return strings.Contains(e.logOf(pod), text+"\n") })
	}
	for _, text := range []string{"data: prepared in it 2000:2777 2000", "groups: 1000 2000", "settings: blue blue 2000:644", "keys: p 0:2000:440",
		`about: app="web"`, "all: p blue", "token: 1 1000:2000:640", "settings cannot be written", "data can be written", "memory ends at 1048576", "colour is blue"} {
		said(text)
	}
	settings.Data["colour"] = "green"
	if err := e.api.Update(t.Context(), settings); err != nil {
		t.Fatal(err)
	}
	said("colour is green")
	e.kill()
	settings.Data["colour"] = "red"
	if err := e.api.Update(t.Context(), settings); err != nil {
		t.Fatal(err)
	}
	e.start()
	said("colour is red")
	if now := e.get("a"); now.Status.Restarts != 0 {
		t.Errorf("it was restarted: %+v", now.Status)
	}
	e.delete("a")
	e.gone("a")
	e.clean()
}

// TestVolumesAttack: a container makes of its volume whatever it can, restarts, and ends. Nothing outside is read, made or removed, and all of it goes.
func TestVolumesAttack(t *testing.T) {
	e := newEnv(t)
	outside := filepath.Join(e.dir, "outside")
	if err := os.Mkdir(outside, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(outside, "precious"), []byte("of the node"), 0o644); err != nil {
		t.Fatal(err)
	}
	attack := `mkdir -p /v/sub; ls /sub/precious /v/sub/precious 2>/dev/null && echo GOT OUT
rm -rf /v/sub; ln -s ` + outside + ` /v/sub; ln -s / /v/root; mkfifo /v/pipe
i=0; cd /v; while [ $i -lt 200 ]; do mkdir ` + strings.Repeat("d", 100) + `; cd ` + strings.Repeat("d", 100) + `; i=$((i+1)); done; exit 1`
	e.run(e.sh("a", attack, func(p *miniv1.MiniPod) {
		p.Spec.Volumes = []miniv1.Volume{{Name: "v", EmptyDir: &miniv1.EmptyDirVolumeSource{}}}
		p.Spec.Containers[0].VolumeMounts = []miniv1.VolumeMount{{Name: "v", MountPath: "/v"}, {Name: "v", MountPath: "/sub", SubPath: "sub"}}
	}))
	e.until("the next attempt is refused the link that the first one left", func() bool {
		now := e.get("a")
		waiting := now.Status.ContainerStatuses
		return len(waiting) > 0 && waiting[0].State.Waiting != nil && waiting[0].State.Waiting.Reason == miniv1.ReasonCreateContainerConfig &&
			strings.Contains(waiting[0].State.Waiting.Message, `subPath "sub"`)
	})
	if log := e.logOf(e.get("a")); strings.Contains(log, "GOT OUT") {
		t.Error(log)
	}
	e.delete("a")
	e.gone("a")
	e.clean()
	entries, err := os.ReadDir(outside)
	if err != nil || len(entries) != 1 {
		t.Errorf("outside there is %v, %v", entries, err)
	}
}

// A volume can be in another one's directory, also where that has files; and a mountPath begins at the root, whether it says so or not.
func TestVolumesInVolumes(t *testing.T) {
	e := newEnv(t)
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "settings"}, Data: map[string]string{"colour": "blue"}}
	if err := e.api.Create(t.Context(), settings); err != nil {
		t.Fatal(err)
	}
	granted := sync.Once{}
	for name, mounts := range map[string][]miniv1.VolumeMount{
		"relative": {{Name: "data", MountPath: "data"}},
		"nested":   {{Name: "settings", MountPath: "/etc/app"}, {Name: "data", MountPath: "/etc/app/deep/data"}},
		"linked":   {{Name: "data", MountPath: "/bin/../linked"}},
		"trailing": {{Name: "data", MountPath: "/trailing/", SubPath: "x/./y/"}},
	} {
		pod := e.sh(name, `echo it runs; sleep 1000`, func(p *miniv1.MiniPod) {
			p.Spec.Volumes = []miniv1.Volume{{Name: "data", EmptyDir: &miniv1.EmptyDirVolumeSource{}},
				{Name: "settings", ConfigMap: &miniv1.ConfigMapVolumeSource{Name: "settings"}}}
			p.Spec.Containers[0].VolumeMounts = mounts
		})
		granted.Do(func() { e.grant(pod) })
		e.run(pod)
		e.until(name, func() bool {
			s := e.get(name).Status.ContainerStatuses
			return len(s) > 0 && (s[0].State.Running != nil && strings.Contains(e.logOf(e.get(name)), "it runs") ||
				s[0].State.Waiting != nil && strings.Contains(s[0].State.Waiting.Reason, "Error"))
		})
		if s := e.get(name).Status.ContainerStatuses; s[0].State.Waiting != nil {
			t.Errorf("%s: %+v", name, s[0].State.Waiting)
		}
	}
	for _, name := range []string{"relative", "nested", "linked", "trailing"} {
		e.delete(name)
		e.gone(name)
	}
	e.clean()
}
