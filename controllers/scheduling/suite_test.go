package scheduling_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers/scheduling"
	"miniplane.dev/miniplane/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// world is an API server for one test, with a scheduler that can be stopped and started.
type world struct {
	t      *testing.T
	c      client.Client
	config *rest.Config
	ns     string
	writes *recorder
	stop   func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	cfg, c := testenv.Start(t)
	w := &world{t: t, c: c, config: cfg, ns: testenv.Namespace(t, c), writes: &recorder{}, stop: func() {}}
	t.Cleanup(func() { w.stop(); w.sweep() })
	return w
}

// start runs a scheduler until the end of the test, or until stop.
func (w *world) start() {
	w.t.Helper()
	ctrl.SetLogger(logr.Discard())
	cfg := rest.CopyConfig(w.config)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return w.writes.wrap(next) })
	skip := true
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{Scheme: testenv.Scheme(), Metrics: metricsserver.Options{BindAddress: "0"},
		Cache: cache.Options{ByObject: scheduling.ByObject()}, Controller: config.Controller{SkipNameValidation: &skip}})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := scheduling.Setup(mgr, scheduling.Options{Seed: 1}); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error("manager:", err)
		}
		w.stop = func() {}
	}
}

// sweep removes what outlives the namespace of the test.
func (w *world) sweep() {
	ctx := context.Background()
	_ = w.c.DeleteAllOf(ctx, &miniv1.MiniNode{})
	_ = w.c.DeleteAllOf(ctx, &corev1.Node{})
	pods := &miniv1.MiniPodList{}
	_ = w.c.List(ctx, pods)
	for i := range pods.Items {
		w.clearFinalizers(&pods.Items[i])
		_ = w.c.Delete(ctx, &pods.Items[i])
	}
	_ = w.c.DeleteAllOf(ctx, &miniv1.MiniQuota{}, client.InNamespace(w.ns))
}

func (w *world) clearFinalizers(pod *miniv1.MiniPod) {
	before := pod.DeepCopy()
	pod.Finalizers = nil
	_ = w.c.Patch(context.Background(), pod, client.MergeFrom(before))
}

// node makes a ready node.
func (w *world) node(name, cpu string) {
	w.t.Helper()
	w.must(w.c.Create(w.t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	// The API server taints new nodes as not ready; the node lifecycle controller, which is not here, would end that.
	w.changeNode(name, func(n *corev1.Node) { n.Spec.Taints = nil })
	mini := &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: name}}
	w.must(w.c.Create(w.t.Context(), mini))
	mini.Status = miniv1.MiniNodeStatus{PodCIDR: "100.64.0.0/22",
		Allocatable: corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse("8Gi"), "pods": resource.MustParse("500")},
		Conditions: []metav1.Condition{{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue, Reason: miniv1.ReasonAgentReady,
			LastTransitionTime: metav1.Now()}}}
	w.must(w.c.Status().Update(w.t.Context(), mini))
}

// changeNode changes a core Node.
func (w *world) changeNode(name string, change func(*corev1.Node)) {
	w.t.Helper()
	node := &corev1.Node{}
	w.must(w.c.Get(w.t.Context(), client.ObjectKey{Name: name}, node))
	before := node.DeepCopy()
	change(node)
	w.must(w.c.Patch(w.t.Context(), node, client.MergeFrom(before)))
}

// quota makes a MiniQuota.
func (w *world) quota(name string, hard ...string) *miniv1.MiniQuota {
	w.t.Helper()
	q := &miniv1.MiniQuota{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name}, Spec: miniv1.MiniQuotaSpec{Hard: corev1.ResourceList{}}}
	for i := 0; i < len(hard); i += 2 {
		q.Spec.Hard[corev1.ResourceName(hard[i])] = resource.MustParse(hard[i+1])
	}
	w.must(w.c.Create(w.t.Context(), q))
	return q
}

// create makes the MiniPod in the test's namespace.
func (w *world) create(pod *miniv1.MiniPod) *miniv1.MiniPod {
	w.t.Helper()
	pod.Namespace, pod.UID = w.ns, ""
	w.must(w.c.Create(w.t.Context(), pod))
	return pod
}

// owned gives a MiniPod what its controller would: the finalizer.
func owned(pod *miniv1.MiniPod) { pod.Finalizers = []string{miniv1.AgentFinalizer} }

func (w *world) get(name string) (*miniv1.MiniPod, bool) {
	pod := &miniv1.MiniPod{}
	err := w.c.Get(context.Background(), client.ObjectKey{Namespace: w.ns, Name: name}, pod)
	return pod, client.IgnoreNotFound(err) == nil && err == nil
}

// agentEnds does what the agent does when a MiniPod that is being deleted has left nothing behind.
func (w *world) agentEnds(name string) {
	w.t.Helper()
	pod, _ := w.get(name)
	w.must(w.c.Delete(w.t.Context(), pod))
	w.clearFinalizers(pod)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// until waits for something to become true; what tells, when it does not, what is there instead.
func (w *world) until(want string, check func() (ok bool, what any)) {
	w.t.Helper()
	testenv.Eventually(w.t, func() string {
		ok, what := check()
		if ok {
			return ""
		}
		return fmt.Sprintf("want: %s; there is: %v", want, what)
	})
}

// untilWrote waits until these, and no other, writes about a MiniPod were answered.
func (w *world) untilWrote(name string, want ...string) {
	w.t.Helper()
	testenv.Eventually(w.t, func() string { return cmp.Diff(want, w.writes.about(name)) })
}

func (w *world) untilBound(name string) *miniv1.MiniPod {
	w.t.Helper()
	var pod *miniv1.MiniPod
	w.until(name+" is bound", func() (bool, any) { pod, _ = w.get(name); return pod.Status.NodeName != "", scheduled(pod) })
	return pod
}

// untilWaiting waits until the MiniPod waits with this reason and message.
func (w *world) untilWaiting(name, reason, message string) *miniv1.MiniPod {
	w.t.Helper()
	var pod *miniv1.MiniPod
	want := fmt.Sprintf("False %s: %s", reason, message)
	w.until(name+" waits with "+want, func() (bool, any) { pod, _ = w.get(name); return scheduled(pod) == want, scheduled(pod) })
	return pod
}

// scheduled is the PodScheduled condition as text.
func scheduled(pod *miniv1.MiniPod) string {
	c := meta.FindStatusCondition(pod.Status.Conditions, miniv1.ConditionPodScheduled)
	if c == nil {
		return "no condition"
	}
	return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
}

// counts tells how many MiniPods of the namespace are bound, and how many wait for a quota.
func (w *world) counts() (bound, waiting int) {
	pods := &miniv1.MiniPodList{}
	w.must(w.c.List(context.Background(), pods, client.InNamespace(w.ns)))
	for i := range pods.Items {
		switch {
		case pods.Items[i].Status.NodeName != "":
			bound++
		case strings.HasPrefix(scheduled(&pods.Items[i]), "False "+miniv1.ReasonQuotaExceeded):
			waiting++
		}
	}
	return bound, waiting
}

// recorder keeps the writes that the scheduler sends, and can lose their answers.
type recorder struct {
	mu     sync.Mutex
	writes []string
	// spoil, when set, may return an error instead of the answer.
	spoil func(*http.Request) error
	// denied is a path that the scheduler may not read, refusals how often it tried; blinded one of which it sees nothing.
	denied, blinded string
	refusals        int
}

// deny takes the right to read a path away; empty gives it back.
func (r *recorder) deny(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.denied = path
}

func (r *recorder) denies(path string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	denies := r.denied != "" && r.denied == path
	if denies {
		r.refusals++
	}
	return denies
}

func (r *recorder) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if r.denies(req.URL.Path) {
			return &http.Response{StatusCode: http.StatusForbidden, Status: "403 Forbidden", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
				Header: http.Header{}, Body: http.NoBody, Request: req}, nil
		}
		answer, err := next.RoundTrip(r.unseen(req))
		if req.Method == http.MethodGet || err != nil {
			return answer, err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.writes = append(r.writes, req.Method+" "+req.URL.Path)
		if r.spoil != nil {
			if lost := r.spoil(req); lost != nil {
				_ = answer.Body.Close()
				return nil, lost
			}
		}
		return answer, nil
	})
}

// about lists the writes that name an object.
func (r *recorder) about(name string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, write := range r.writes {
		if at := strings.Index(write, "/minipods/"+name); at >= 0 {
			out = append(out, write[:strings.Index(write, " ")]+" "+write[at+len("/minipods/"):])
		}
	}
	return out
}

func (r *recorder) losing(spoil func(*http.Request) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spoil = spoil
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
