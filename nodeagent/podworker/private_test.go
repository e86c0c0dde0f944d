package podworker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/fake"
)

const private = "r.example/private:1"

func (b *bench) secret(name, password string) *corev1.Secret {
	b.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-of-" + name)},
		Data: map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{"r.example":{"username":"me","password":%q}}}`, password)}}
	if err := b.api.Create(context.Background(), secret); err != nil {
		b.t.Fatal(err)
	}
	return secret
}

func wants(image string, policy corev1.PullPolicy, secrets ...string) func(*miniv1.MiniPod) {
	return func(p *miniv1.MiniPod) {
		p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = image, policy
		for _, name := range secrets {
			p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, miniv1.LocalObjectReference{Name: name})
		}
	}
}

func (b *bench) pulls() int { return len(b.runtime.Calls(fake.OpPull)) }

func (b *bench) secretsRead() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.read)
}

func waitingFor(p *miniv1.MiniPod) string { return p.Status.ContainerStatuses[0].State.Waiting.Message }

// What one MiniPod's Secret brought to the node is not free for others.
func TestPrivateImages(t *testing.T) {
	b := newBench(t)
	b.runtime.SetPrivate(private, runtime.RegistryAuth{Username: "me", Password: "right"})
	mine := b.secret("mine", "right")
	b.secret("same", "right")
	b.secret("wrong", "guess")
	b.create("owner", wants(private, "", "mine"))
	b.shows("owner", "Running")
	if n := b.pulls(); n != 1 {
		t.Fatalf("%d pulls", n)
	}

	for name, secrets := range map[string][]string{"same secret": {"mine"}, "same credential": {"same"}, "one of two": {"wrong", "same"}} {
		b.create(name, wants(private, "", secrets...))
		b.create(name+" never", wants(private, corev1.PullNever, secrets...))
		b.shows(name, "Running")
		b.shows(name+" never", "Running")
	}
	if n := b.pulls(); n != 1 {
		t.Errorf("%d pulls: who can show a known credential need not ask the registry", n)
	}

	b.create("guest", wants(private, corev1.PullIfNotPresent))
	b.create("guesser", wants(private, corev1.PullIfNotPresent, "wrong"))
	b.create("never", wants(private, corev1.PullNever))
	for _, name := range []string{"guest", "guesser"} {
		if says := waitingFor(b.shows(name, miniv1.ReasonErrImagePull)); !strings.Contains(says, "pulled with a credential that this MiniPod does not have") {
			t.Errorf("%s: %q", name, says)
		}
	}
	if says := waitingFor(b.shows("never", miniv1.ReasonErrImageNeverPull)); !strings.Contains(says, "imagePullSecrets") {
		t.Errorf("never: %q", says)
	}
	if n := b.pulls(); n != 3 {
		t.Errorf("%d pulls, want one more for each that may ask", n)
	}
	// Another agent knows it as well.
	b.restart()
	b.until("those who may ask have asked again", func() bool { return b.pulls() == 5 })
	b.create("guest later", wants(private, corev1.PullNever))
	b.shows("guest later", miniv1.ReasonErrImageNeverPull)

	// What has run may be started again, also when its Secret is gone.
	if err := b.api.Delete(context.Background(), mine); err != nil {
		t.Fatal(err)
	}
	before := b.pulls()
	owner := b.get("owner")
	if err := b.runtime.Exit(containerID(owner.UID, "main", 0), 1); err != nil {
		t.Fatal(err)
	}
	b.until("the owner is restarted", func() bool {
		pod := b.get("owner")
		return pod.Status.Summary == "Running" && pod.Status.ContainerStatuses[0].RestartCount == 1
	})
	if n := b.pulls(); n != before {
		t.Errorf("%d pulls for a restart", n-before)
	}

	// The registry gives it to everybody now: the first who asks makes it free, and nobody need ask after that.
	b.runtime.SetPublic(private)
	b.until("all run that waited", func() bool {
		if b.clock.HasWaiters() {
			b.clock.Step(5 * time.Minute)
		}
		return !slices.ContainsFunc([]string{"guest", "never", "guest later", "guesser"}, func(name string) bool {
			return b.get(name).Status.Summary != "Running"
		})
	})
	before = b.pulls()
	b.create("anybody", wants(private, corev1.PullNever))
	b.shows("anybody", "Running")
	if n := b.pulls(); n != before {
		t.Errorf("%d pulls of an image that is free", n-before)
	}
}

// Images that are free cost nothing: neither the registry nor a Secret is asked for.
func TestFreeImagesCostNothing(t *testing.T) {
	b := newBench(t)
	b.secret("mine", "right")
	b.create("a", wants("echo:test", "", "mine"))
	b.shows("a", "Running")
	if reads := b.secretsRead(); b.pulls() != 0 || len(reads) != 0 {
		t.Errorf("%d pulls, Secrets read: %v", b.pulls(), reads)
	}
	b.runtime.SetPrivate(private, runtime.RegistryAuth{Username: "me", Password: "right"})
	b.create("b", wants(private, "", "mine"))
	b.shows("b", "Running")
	if reads := b.secretsRead(); b.pulls() != 1 || len(reads) != 1 {
		t.Errorf("the test counts nothing: %d pulls, Secrets read: %v", b.pulls(), reads)
	}
}
