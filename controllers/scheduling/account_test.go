package scheduling_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/builders"
)

// account makes a ServiceAccount with pull secrets.
func (w *world) account(name string, secrets ...string) {
	w.t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name}}
	for _, secret := range secrets {
		account.ImagePullSecrets = append(account.ImagePullSecrets, corev1.LocalObjectReference{Name: secret})
	}
	w.must(w.c.Create(w.t.Context(), account))
}

func runsAs(account string) func(*miniv1.MiniPod) {
	return func(p *miniv1.MiniPod) {
		p.Spec.ServiceAccountName, p.Spec.AutomountServiceAccountToken = account, new(false)
	}
}

func pullsWith(secret string) func(*miniv1.MiniPod) {
	return func(p *miniv1.MiniPod) { p.Spec.ImagePullSecrets = []miniv1.LocalObjectReference{{Name: secret}} }
}

// A MiniPod that names no pull secrets is bound with those of its ServiceAccount, in the same write; one that names some, or whose account has none or is not
// there, without.
func TestBindsWithPullSecretsOfTheAccount(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "4")
	w.account("default", "first", "second")
	w.account("robot", "its", "")
	w.account("poor")
	w.start()
	for name, try := range map[string]struct {
		change func(*miniv1.MiniPod)
		want   []miniv1.LocalObjectReference
	}{
		"plain":  {func(*miniv1.MiniPod) {}, []miniv1.LocalObjectReference{{Name: "first"}, {Name: "second"}}},
		"asking": {func(p *miniv1.MiniPod) { p.Spec.NodeName = "n1" }, []miniv1.LocalObjectReference{{Name: "first"}, {Name: "second"}}},
		"robots": {runsAs("robot"), []miniv1.LocalObjectReference{{Name: "its"}}},
		"poors":  {runsAs("poor"), nil},
		"nobody": {runsAs("missing"), nil},
		"owns":   {pullsWith("own"), nil},
		// A native Pod has no other ones then either.
		"owns-none": {pullsWith(""), nil},
	} {
		w.create(builders.Pod("", name).With(owned).With(try.change).Obj())
		pod := w.untilBound(name)
		if diff := cmp.Diff(try.want, pod.Status.ImagePullSecrets); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		w.untilWrote(name, "PATCH "+name+"/status")
	}
	many := make([]string, 100)
	for i := range many {
		many[i] = fmt.Sprintf("s-%d", i)
	}
	w.account("rich", many...)
	w.create(builders.Pod("", "richest").With(owned).With(runsAs("rich")).Obj())
	if pod := w.untilBound("richest"); len(pod.Status.ImagePullSecrets) != 64 {
		t.Errorf("%d pull secrets", len(pod.Status.ImagePullSecrets))
	}
}

// An account that the cache has not seen is not one without pull secrets: the API server is asked, and where it does not answer, nothing is bound.
func TestPullSecretsOfAnAccountThatIsNotSeen(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "4")
	hidden := "/api/v1/namespaces/" + w.ns + "/serviceaccounts/late"
	w.writes.blind("/api/v1/serviceaccounts")
	w.writes.deny(hidden)
	w.start()
	w.account("late", "its")
	w.create(builders.Pod("", "early").With(owned).With(runsAs("late")).Obj())
	w.until("the scheduler was denied to look", func() (bool, any) { n := w.writes.deniedSoFar(); return n > 0, n })
	if pod, _ := w.get("early"); pod.Status.NodeName != "" {
		t.Errorf("it is bound, with %v", pod.Status.ImagePullSecrets)
	}
	w.writes.deny("")
	pod := w.untilBound("early")
	if diff := cmp.Diff([]miniv1.LocalObjectReference{{Name: "its"}}, pod.Status.ImagePullSecrets); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// blind lets watches of a path see nothing that is made later.
func (r *recorder) blind(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blinded = path
}

// unseen is the request that is made in the place of one that would show what comes: one for an object that never does.
func (r *recorder) unseen(req *http.Request) *http.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.blinded == "" || req.URL.Path != r.blinded {
		return req
	}
	out := req.Clone(req.Context())
	query := out.URL.Query()
	query.Set("fieldSelector", "metadata.name=nobody")
	out.URL.RawQuery = query.Encode()
	return out
}

func (r *recorder) deniedSoFar() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refusals
}
