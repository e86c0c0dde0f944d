package podworker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/grants"
	"miniplane.dev/miniplane/internal/resources"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/fake"
	"miniplane.dev/miniplane/nodeagent/volumes"
)

// settingsRef is the ConfigMap of the tests, as it is followed.
var settingsRef = grants.Reference{Resource: grants.ConfigMaps, Name: "settings", Watch: true}

// mountsSettings gives a MiniPod the files of a ConfigMap.
func mountsSettings(p *miniv1.MiniPod) {
	p.Spec.Volumes = []miniv1.Volume{{Name: "settings", ConfigMap: &miniv1.ConfigMapVolumeSource{Name: "settings"}}}
	p.Spec.Containers[0].VolumeMounts = []miniv1.VolumeMount{{Name: "settings", MountPath: "/etc/settings"}}
}

// put writes the ConfigMap and tells who follows it.
func (b *bench) put(told *changes, data map[string]string) {
	b.t.Helper()
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "settings"}, Data: data}
	err := b.api.Update(context.Background(), settings)
	if err != nil {
		err = b.api.Create(context.Background(), settings)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.until("the ConfigMap is followed", func() bool { return told.followed(settingsRef) != nil })
	told.followed(settingsRef)(settings.ResourceVersion)
}

// saysWhy waits until a container that waits for a volume says why.
func (b *bench) saysWhy(name, why string) {
	b.t.Helper()
	b.until("it says why it waits", func() bool {
		pod := b.get(name)
		return len(pod.Status.ContainerStatuses) > 0 && pod.Status.Summary == miniv1.ReasonContainerCreating && strings.Contains(waitingFor(pod), why)
	})
}

// mountAt is what the container that runs has at a path.
func (b *bench) mountAt(path string) runtime.Mount {
	spec, _ := b.runtime.Spec(b.running()[0])
	for _, m := range spec.Mounts {
		if m.ContainerPath == path {
			return m
		}
	}
	return runtime.Mount{}
}

// fileOf is the text of a file of the MiniPod's volume.
func (b *bench) fileOf(pod *miniv1.MiniPod, volume, path string) string {
	return string(b.volumes.Of(pod.UID)[volume].Files[path].Data)
}

// A container waits for a volume whose ConfigMap is missing and says so; it starts when that comes, has its changes, keeps its files when it
// is deleted, and is not touched by any of it, nor by an agent that comes anew.
func TestVolumeOfAConfigMap(t *testing.T) {
	told := &changes{}
	b := newBench(t, func(b *bench) { b.changes = told })
	b.create("a", mountsSettings)
	b.saysWhy("a", `volume "settings": configmap "settings" not found`)
	pod := b.get("a")
	if created := b.runtime.Calls(fake.OpCreate); len(created) > 0 {
		t.Error("a container was made without its volume")
	}
	b.put(told, map[string]string{"colour": "blue"})
	b.shows("a", "Running")
	want := runtime.Mount{HostPath: "/volumes/settings", ContainerPath: "/etc/settings", ReadOnly: true}
	if got := b.mountAt("/etc/settings"); got != want {
		t.Errorf("mount %+v, want %+v", got, want)
	}
	b.put(told, map[string]string{"colour": "green"})
	b.until("the change is there", func() bool { return b.fileOf(pod, "settings", "colour") == "green" })

	b.restart()
	b.put(told, map[string]string{"colour": "red"})
	b.until("the next agent hears of changes", func() bool { return b.fileOf(pod, "settings", "colour") == "red" })
	if err := b.api.Delete(context.Background(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "settings"}}); err != nil {
		t.Fatal(err)
	}
	makes := b.volumes.Makes()
	told.followed(settingsRef)("")
	b.until("it is looked for", func() bool { return b.volumes.Makes() > makes })
	b.exit(1)
	b.until("a container starts with what there is", func() bool {
		p := b.get("a")
		return p.Status.Restarts == 1 && p.Status.Summary == "Running"
	})
	if got := b.fileOf(pod, "settings", "colour"); got != "red" {
		t.Errorf("files are %q after their ConfigMap was deleted", got)
	}
	b.delete("a")
	b.gone("a")
	if uids, _ := b.volumes.List(); len(uids) > 0 {
		t.Errorf("volumes are left: %v", uids)
	}
	b.until("nothing is followed any more", func() bool { return told.followed(settingsRef) == nil })
}

// Labels in files change with the MiniPod's.
func TestVolumeOfFields(t *testing.T) {
	b := newBench(t)
	b.create("a", func(p *miniv1.MiniPod) {
		p.Labels = map[string]string{"colour": "blue"}
		p.Spec.Volumes = []miniv1.Volume{{Name: "about", DownwardAPI: &miniv1.DownwardAPIVolumeSource{Items: []miniv1.DownwardAPIVolumeFile{
			{Path: "labels", FieldRef: &miniv1.FileFieldSelector{FieldPath: "metadata.labels"}},
			{Path: "name", FieldRef: &miniv1.FileFieldSelector{FieldPath: "metadata.name"}},
			{Path: "memory", ResourceFieldRef: &miniv1.ResourceFieldSelector{ContainerName: "main", Resource: "limits.memory", Divisor: resource.MustParse("1Mi")}},
		}}}}
		p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}
	})
	pod := b.shows("a", "Running")
	got := map[string]string{}
	for path, file := range b.volumes.Of(pod.UID)["about"].Files {
		got[path] = string(file.Data)
	}
	if diff := cmp.Diff(map[string]string{"labels": `colour="blue"`, "name": "a", "memory": "64"}, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	b.change("a", func(p *miniv1.MiniPod) { p.Labels["colour"] = "green" })
	b.until("the label is there", func() bool { return b.fileOf(pod, "about", "labels") == `colour="green"` })
}

// What cannot be made on the machine is said, and tried again; the MiniPod can be deleted meanwhile; and one that has ended has no volumes.
func TestVolumesFail(t *testing.T) {
	b := newBench(t)
	empty := func(p *miniv1.MiniPod) {
		p.Spec.Volumes = []miniv1.Volume{{Name: "data", EmptyDir: &miniv1.EmptyDirVolumeSource{}}}
		p.Spec.Containers[0].VolumeMounts = []miniv1.VolumeMount{{Name: "data", MountPath: "/data", SubPathExpr: "$(NAME)/x"}}
		p.Spec.Containers[0].Env = []miniv1.EnvVar{{Name: "NAME", Value: "n"}}
	}
	b.volumes.Fail(errors.New("the disk is full"))
	b.create("deleted", empty)
	b.saysWhy("deleted", "the disk is full")
	b.delete("deleted")
	b.gone("deleted")
	b.create("a", empty, policy(corev1.RestartPolicyNever))
	b.saysWhy("a", "the disk is full")
	b.volumes.Fail(nil)
	b.pass(time.Second)
	pod := b.shows("a", "Running")
	if got := b.mountAt("/data").HostPath; got != "/volumes/data/n/x" {
		t.Errorf("mounted is %s", got)
	}
	if len(b.volumes.Of(pod.UID)) != 1 {
		t.Error("it has no volume")
	}
	b.exit(0)
	b.until("its volumes go with it", func() bool { return len(b.volumes.Of(pod.UID)) == 0 })
}

// How much memory an emptyDir may take: its own limit, at most what the containers may have together, at most what the node has.
func TestEmptyDirMemory(t *testing.T) {
	m := Machine{Node: resources.Amounts{MemoryBytes: 1 << 30}, MemoryBytes: 8 << 30}
	size := func(text string) *resource.Quantity { q := resource.MustParse(text); return &q }
	for name, c := range map[string]struct {
		limit  string
		source miniv1.EmptyDirVolumeSource
		want   int64
	}{
		"disk":                   {"", miniv1.EmptyDirVolumeSource{}, 0},
		"all that the node has":  {"", miniv1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}, 1 << 30},
		"its own":                {"", miniv1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: size("16Mi")}, 16 << 20},
		"the containers'":        {"64Mi", miniv1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}, 64 << 20},
		"its own is less":        {"64Mi", miniv1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: size("16Mi")}, 16 << 20},
		"more than there can be": {"64Mi", miniv1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: size("16Gi")}, 64 << 20},
		"none is no limit":       {"64Mi", miniv1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: size("0")}, 64 << 20},
	} {
		pod := testPod().Limits("", c.limit).Obj()
		if c.limit == "" {
			pod = testPod().Obj()
		}
		if got := emptyDirMemory(pod, &c.source, m); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
		pod.Spec.Volumes = []miniv1.Volume{{Name: "m", EmptyDir: &c.source}}
		bounded := c.limit != "" && c.source.Medium != ""
		if got := maxMemory(pod); (got == 64<<20+roomForAll) != bounded || (got != 0) != bounded {
			t.Errorf("%s: all of the MiniPod may have %d", name, got)
		}
	}
}

// What a container has at a place of its own goes before what every container has there; a subPathExpr names variables that are there.
func TestVolumeMounts(t *testing.T) {
	b := newBench(t)
	pod := testPod().With(func(p *miniv1.MiniPod) {
		p.Spec.Volumes = []miniv1.Volume{{Name: "data", EmptyDir: &miniv1.EmptyDirVolumeSource{}}}
		p.Spec.Containers[0].VolumeMounts = []miniv1.VolumeMount{{Name: "data", MountPath: "/etc/hosts"}, {Name: "data", MountPath: "/dev/shm/"}}
	}).Obj()
	if err := b.volumes.Make(t.Context(), pod.UID, []volumes.Wanted{{Name: "data"}}); err != nil {
		t.Fatal(err)
	}
	o := seen()
	for _, m := range mountsOf(pod, o.box, &pod.Spec.Containers[0], false) {
		if m.ContainerPath == "/etc/hosts" || m.ContainerPath == "/dev/shm" {
			t.Errorf("%s is there twice", m.ContainerPath)
		}
	}
	for expr, want := range map[string]string{"$(NONE)": "there is no variable NONE", "$(EMPTY)": "becomes nothing", "a/$(NAME)": ""} {
		pod.Spec.Containers[0].VolumeMounts = []miniv1.VolumeMount{{Name: "data", MountPath: "/data", SubPathExpr: expr}}
		mounts, err := b.pool.volumeMounts(pod, &pod.Spec.Containers[0], map[string]string{"NAME": "n", "EMPTY": ""})
		switch {
		case want == "" && (err != nil || mounts[0].HostPath != "/volumes/data/a/n" || mounts[0].ReadOnly):
			t.Errorf("%s: %+v, %v", expr, mounts, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", expr, err, want)
		}
	}
}

// accounts give tokens that tell how many there were.
type accounts struct {
	Reader
	mu    sync.Mutex
	asked []volumes.Token
	fails error
}

func (a *accounts) Token(_ context.Context, account types.NamespacedName, audience string, lifetime time.Duration) (string, time.Duration, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fails != nil {
		return "", 0, a.fails
	}
	a.asked = append(a.asked, volumes.Token{Audience: audience, Lifetime: lifetime})
	return fmt.Sprintf("%s %d", account.Name, len(a.asked)), lifetime, nil
}

func (a *accounts) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fails = err
}

// automountServiceAccountToken: true is a volume like others from where the agent hears of a MiniPod; nothing of it is written back.
func TestVolumeOfAPIAccess(t *testing.T) {
	b := newBench(t)
	tokens := &accounts{Reader: b.pool.Uses}
	b.pool.Uses = tokens
	b.create("a", func(p *miniv1.MiniPod) {
		p.Spec.ServiceAccountName, p.Spec.AutomountServiceAccountToken = "robot", new(true)
	})
	b.saysWhy("a", `volume "kube-api-access-token": configmap "kube-root-ca.crt" not found`)
	authority := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "kube-root-ca.crt"}, Data: map[string]string{"ca.crt": "authority"}}
	if err := b.api.Create(context.Background(), authority); err != nil {
		t.Fatal(err)
	}
	b.pass(time.Second)
	pod := b.shows("a", "Running")
	for file, want := range map[string]string{"token": "robot 1", "ca.crt": "authority", "namespace": "ns"} {
		if got := b.fileOf(pod, "kube-api-access-token", file); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
	}
	if diff := cmp.Diff([]volumes.Token{{Lifetime: 3607 * time.Second}}, tokens.asked); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
	if len(pod.Spec.Volumes) != 0 || len(pod.Spec.Containers[0].VolumeMounts) != 0 {
		t.Errorf("it was written to the spec: %+v", pod.Spec)
	}
}

// A token is asked for before a container starts, and again before it expires, however often that does not work; one of an account that is
// not there is waited for.
func TestVolumeOfAToken(t *testing.T) {
	b := newBench(t)
	tokens := &accounts{Reader: b.pool.Uses, fails: apierrors.NewNotFound(corev1.Resource("serviceaccounts"), "robot")}
	b.pool.Uses = tokens
	seconds := int64(600)
	b.create("a", func(p *miniv1.MiniPod) {
		p.Spec.ServiceAccountName = "robot"
		p.Spec.Volumes = []miniv1.Volume{{Name: "token", Projected: &miniv1.ProjectedVolumeSource{Sources: []miniv1.VolumeProjection{
			{ServiceAccountToken: &miniv1.ServiceAccountTokenProjection{Path: "token", Audience: "vault", ExpirationSeconds: &seconds}}}}}}
	})
	b.saysWhy("a", `volume "token": serviceaccount "robot" not found`)
	tokens.fail(nil)
	b.pass(time.Second)
	pod := b.shows("a", "Running")
	if got := b.fileOf(pod, "token", "token"); got != "robot 1" {
		t.Errorf("the token is %q", got)
	}
	if diff := cmp.Diff([]volumes.Token{{Audience: "vault", Lifetime: 10 * time.Minute}}, tokens.asked); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
	tokens.fail(errors.New("away"))
	makes := b.volumes.Makes()
	b.pass(8 * time.Minute)
	b.until("a new one is asked for", func() bool { return b.volumes.Makes() > makes })
	if got := b.fileOf(pod, "token", "token"); got != "robot 1" {
		t.Errorf("when none could be had, the token is %q", got)
	}
	tokens.fail(nil)
	b.pass(time.Minute)
	b.until("it is replaced", func() bool { return b.fileOf(pod, "token", "token") == "robot 2" })
	if b.get("a").Status.Restarts != 0 {
		t.Error("it was restarted")
	}
}
