package podworker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/pulls"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/fake"
)

func TestImages(t *testing.T) {
	b := newBench(t)
	image := func(ref string) func(*miniv1.MiniPod) {
		return func(p *miniv1.MiniPod) { p.Spec.Containers[0].Image = ref }
	}
	b.create("missing", image("other:1"))
	b.create("bad", image("A B"))
	b.create("never", image("other:2"), func(p *miniv1.MiniPod) { p.Spec.Containers[0].ImagePullPolicy = corev1.PullNever })
	b.shows("bad", miniv1.ReasonInvalidImageName)
	b.shows("never", miniv1.ReasonErrImageNeverPull)
	b.shows("missing", miniv1.ReasonErrImagePull)
	b.pass(5 * time.Second)
	b.shows("missing", miniv1.ReasonImagePullBackOff)
	b.runtime.SetPull("other:1", nil)
	b.runtime.AddImage("other:2", 1)
	b.pass(10 * time.Second)
	b.shows("missing", "Running")
	b.shows("never", "Running")
}

// A registry may say as much as it likes.
func TestRegistriesWordsAreBounded(t *testing.T) {
	b := newBench(t)
	b.runtime.SetPull("talks:1", errors.New(strings.Repeat("世界\xff", 100_000)))
	b.create("a", func(p *miniv1.MiniPod) { p.Spec.Containers[0].Image = "talks:1" })
	for _, reason := range []string{miniv1.ReasonErrImagePull, miniv1.ReasonImagePullBackOff} {
		message := b.shows("a", reason).Status.ContainerStatuses[0].State.Waiting.Message
		if len(message) > 2*maxWords || !strings.Contains(message, "世界") || !utf8.ValidString(message) {
			t.Errorf("%s: a message of %d bytes", reason, len(message))
		}
		b.pass(5 * time.Second)
	}
}

// forbidden is an API server that gives no right.
type forbidden struct{ Reader }

func (forbidden) Get(_ context.Context, key types.NamespacedName, _ client.Object) error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, key.Name, nil)
}

func TestPullSecrets(t *testing.T) {
	b := newBench(t)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s"},
		Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{"other.example":{"username":"o","password":"p"},"r.example":{"username":"u","password":"p"}}}`)}}
	broken := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "broken"}}
	for _, s := range []client.Object{secret, broken} {
		if err := b.api.Create(context.Background(), s); err != nil {
			t.Fatal(err)
		}
	}
	pod := testPod().With(func(p *miniv1.MiniPod) {
		p.Spec.ImagePullSecrets = []miniv1.LocalObjectReference{{Name: "none"}, {Name: "broken"}, {Name: "s"}}
	}).Obj()
	want := []runtime.RegistryAuth{{Registry: "r.example", Username: "u", Password: "p", Secret: "ns/s/"}}
	got := b.pool.pullSecrets(context.Background(), pod, "r.example/image")
	if diff := cmp.Diff(want, got.auths); diff != "" {
		t.Errorf("auths (-want +got):\n%s", diff)
	}
	account := testPod().Obj()
	account.Status.ImagePullSecrets = []miniv1.LocalObjectReference{{Name: "s"}}
	if diff := cmp.Diff(want, b.pool.pullSecrets(context.Background(), account, "r.example/image").auths); diff != "" {
		t.Errorf("auths of the ServiceAccount (-want +got):\n%s", diff)
	}
	if said := fmt.Sprint(got.useless); !strings.Contains(said, `pull secret ns/none: secrets "none" not found`) || !strings.Contains(said, "pull secret ns/broken: ") || strings.Contains(said, "ns/s:") {
		t.Errorf("of no use: %s", said)
	}
}

// Of very many credentials that fit an image, as one Secret can have them, the most specific are tried.
func TestManyPullSecrets(t *testing.T) {
	b := newBench(t)
	var auths []string
	for i := range 1000 {
		auths = append(auths, fmt.Sprintf(`"[%s].example":{"username":"u","password":"p%d"}`, strings.Repeat("r", i+1), i))
	}
	auths = append(auths, `"r.example/team/image":{"username":"own","password":"p"}`)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s"},
		Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{` + strings.Join(auths, ",") + `}}`)}}
	if err := b.api.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	pod := testPod().With(func(p *miniv1.MiniPod) { p.Spec.ImagePullSecrets = []miniv1.LocalObjectReference{{Name: "s"}} }).Obj()
	if got := b.pool.pullSecrets(t.Context(), pod, "r.example/team/image"); len(got.auths) != mostCredentials || got.useless != nil {
		t.Errorf("%d credentials, %v", len(got.auths), got.useless)
	}
	secret.Data[corev1.DockerConfigJsonKey] = []byte(`{"auths":{"r.example":{"username":"u","password":"` + strings.Repeat("x", maxCredential) + `"}}}`)
	if err := b.api.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	if got := b.pool.pullSecrets(t.Context(), pod, "r.example/team/image"); len(got.auths) != 0 || !strings.Contains(fmt.Sprint(got.useless), "more than 65536 bytes") {
		t.Errorf("%d credentials, %v", len(got.auths), got.useless)
	}
}

// What may not be read does not keep a public image away; and where the image is not public, the MiniPod says why.
func TestPullSecretsThatCannotBeRead(t *testing.T) {
	b := newBench(t)
	b.pool.Uses = forbidden{}
	b.runtime.SetPull("public:1", nil)
	for name, image := range map[string]string{"public": "public:1", "private": "private:1"} {
		b.create(name, func(p *miniv1.MiniPod) {
			p.Spec.ImagePullSecrets = []miniv1.LocalObjectReference{{Name: "s"}}
			p.Spec.Containers[0].Image = image
		})
	}
	b.shows("public", "Running")
	status := b.shows("private", miniv1.ReasonErrImagePull).Status
	if waiting := status.ContainerStatuses[0].State.Waiting; waiting == nil || !strings.Contains(waiting.Message, "pull secret ns/s") {
		t.Errorf("it does not say which Secret cannot be read: %v", waiting)
	}
}

func TestPullIsSharedAndEnds(t *testing.T) {
	b := newBench(t)
	b.runtime.SetPull("slow:1", nil)
	b.runtime.OnCall(fake.Latency(fake.OpPull, time.Hour))
	slow := func(p *miniv1.MiniPod) { p.Spec.Containers[0].Image = "slow:1" }
	b.create("a", slow)
	b.create("b", slow)
	b.until("both wait", func() bool {
		waiters, under := b.pool.puller.Waiting()
		return waiters == 2 && under == 1
	})
	b.delete("a")
	b.until("a is gone", func() bool { return b.get("a") == nil })
	b.delete("b")
	b.gone("b")
	b.until("the pull ended", func() bool {
		waiters, under := b.pool.puller.Waiting()
		return waiters == 0 && under == 0
	})
	if pulls := b.runtime.Calls(fake.OpPull); len(pulls) != 1 {
		t.Errorf("%d pulls", len(pulls))
	}
}

func TestSlowStartSaysSo(t *testing.T) {
	b := newBench(t)
	b.runtime.SetPull("slow:1", nil)
	hold := make(chan struct{})
	b.runtime.OnCall(func(_ context.Context, op fake.Op, _ string) error {
		if op == fake.OpPull {
			<-hold
		}
		return nil
	})
	b.create("a", func(p *miniv1.MiniPod) { p.Spec.Containers[0].Image = "slow:1" })
	b.until("it pulls", func() bool { return len(b.runtime.Calls(fake.OpPull)) == 1 })
	b.pass(5 * time.Second)
	b.until("it says that it pulls", func() bool {
		status := b.get("a").Status
		return status.PodIP != "" && len(status.ContainerStatuses) == 1 && status.ContainerStatuses[0].State.Waiting != nil &&
			status.ContainerStatuses[0].State.Waiting.Message == `pulling image "slow:1"`
	})
	worker := b.pool.worker(b.get("a").UID)
	for want, standing := range map[string]pulls.Standing{
		`pulling image "slow:1": it waits for its turn behind other pulls of the node, since 8s`: {For: 8 * time.Second},
		`pulling image "slow:1": the registry has not told its layers yet, after 16s`:            {For: 16 * time.Second, HasTurn: true, Bytes: 999},
		`pulling image "slow:1": 1.5 MiB of 40.0 MiB came in 32s`:                                {For: 32 * time.Second, HasTurn: true, Bytes: 3 << 19, Size: 40 << 20},
		`pulling image "slow:1": all of 40.0 MiB came, and is being unpacked, after 1m4s`:        {For: 64 * time.Second, HasTurn: true, Bytes: 41 << 20, Size: 40 << 20},
	} {
		worker.pullStands(&miniv1.Container{Name: "main", Image: "slow:1"}, standing)
		b.until(want, func() bool { return b.get("a").Status.ContainerStatuses[0].State.Waiting.Message == want })
	}
	worker.pullStands(&miniv1.Container{Name: "main", Image: "another:1"}, pulls.Standing{For: time.Hour}) // which nobody waits for any more
	close(hold)
	b.shows("a", "Running")
}
