package twin

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"miniplane.dev/miniplane/test/slow"
	"miniplane.dev/miniplane/test/testenv"
)

// patience is how long a twin may take to get to a moment. A kubelet that has to tell of a second crash takes a quarter of a minute.
var patience = slow.By(3 * time.Minute)

var (
	cluster dynamic.Interface
	native  kubernetes.Interface
	tables  rest.Interface
)

func TestMain(m *testing.M) {
	flag.Parse()
	path := os.Getenv("KUBECONFIG")
	if path == "" {
		path = filepath.Join(testenv.Root(), ".local", "kubeconfig")
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err == nil {
		config.QPS, config.Burst = -1, -1
		cluster, err = dynamic.NewForConfig(config)
	}
	if err == nil {
		native, err = kubernetes.NewForConfig(config)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "twin: %v\ntwin: start a full cluster, or run `make twin`\n", err)
		os.Exit(1)
	}
	tables = native.CoreV1().RESTClient()
	os.Exit(m.Run())
}

// report has a line for each history, and which differences were seen.
type report struct {
	sync.Mutex
	lines []string
	met   map[int]int
}

// Every history goes as a MiniPod as it goes as a native Pod, but for the differences that are meant.
func TestTwins(t *testing.T) {
	namespace := namespaceOfOurs(t)
	r := &report{met: map[int]int{}}
	all := histories()
	t.Run("of", func(t *testing.T) {
		for i := range all {
			h := &all[i]
			if testing.Short() && !h.short {
				continue
			}
			t.Run(h.name, func(t *testing.T) {
				t.Parallel()
				compare(t, r, namespace, h.object(i), h)
			})
		}
	})
	slices.Sort(r.lines)
	t.Logf("\n%s", strings.Join(r.lines, "\n"))
	if testing.Short() || t.Failed() || flag.Lookup("test.run").Value.String() != "" {
		return
	}
	for i, d := range Differences {
		if r.met[i] == 0 {
			t.Errorf("no history shows the difference %q any more: %s", d.What, d.Why)
		}
	}
}

// outcome is what was seen of one twin: at each moment, and all along.
type outcome struct {
	moments []view
	row     []string
	err     error
}

func compare(t *testing.T, r *report, namespace, name string, h *history) {
	start := time.Now()
	var of [2]outcome
	var both sync.WaitGroup
	for i, k := range []kind{pods, minipods} {
		both.Go(func() { of[i] = live(t.Context(), k, namespace, name, h) })
	}
	both.Wait()
	pod, mini := of[0], of[1]
	var found []string
	for i := range max(len(pod.moments), len(mini.moments)) {
		found = append(found, r.differences(momentOf(h, i), at(pod.moments, i), at(mini.moments, i), at(mini.moments, i-1))...)
	}
	if !slices.EqualFunc(pod.row, mini.row, func(a, b string) bool { return a == b || r.meant("", h.follow, a, b) }) {
		found = append(found, fmt.Sprintf("what a watch saw of %q:\n    Pod:     %s\n    MiniPod: %s", h.follow, strings.Join(pod.row, " | "), strings.Join(mini.row, " | ")))
	}
	for i, o := range of {
		if o.err != nil {
			found = append(found, fmt.Sprintf("%s: %v; last seen:\n%v", []string{"Pod", "MiniPod"}[i], o.err, at(o.moments, len(o.moments)-1)))
		}
	}
	verdict := "same"
	if len(found) > 0 {
		verdict = fmt.Sprintf("%d DIFFERENCES", len(found))
		t.Errorf("%s\n%s", h.spec.yaml(), strings.Join(found, "\n"))
	}
	r.Lock()
	defer r.Unlock()
	r.lines = append(r.lines, fmt.Sprintf("%-60s %-16s %.0f s", h.name, verdict, time.Since(start).Seconds()))
}

func at(moments []view, i int) view {
	if i < 0 || i >= len(moments) {
		return view{}
	}
	return moments[i]
}

func momentOf(h *history, i int) string {
	if i == 0 {
		return h.until
	}
	return h.then[i-1].until
}

// live has one twin live a history.
func live(ctx context.Context, k kind, namespace, name string, h *history) (o outcome) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s, err := start(ctx, k, namespace, name, h)
	if err != nil {
		o.err = err
		return o
	}
	defer func() {
		if err := s.end(context.WithoutCancel(ctx)); err != nil && o.err == nil {
			o.err = err
		}
	}()
	steps := append([]step{{nil, h.until}}, h.then...)
	for _, step := range steps {
		if step.do != nil {
			if o.err = step.do(ctx, s); o.err != nil {
				return o
			}
		}
		v, err := s.await(ctx, step.until)
		o.moments, o.err = append(o.moments, v), err
		if err != nil {
			return o
		}
	}
	if h.follow != "" {
		o.row = s.follow(h.follow)
	}
	return o
}

// differences are those that nobody means. What a MiniPod said before it was gone, it goes on saying.
func (r *report) differences(moment string, pod, mini, before view) (out []string) {
	keys := maps.Clone(pod)
	maps.Copy(keys, mini)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		when := moment
		if moment == gone && mini[key] != before[key] {
			when = "after the deletion"
		}
		if pod[key] != mini[key] && !r.meant(when, key, pod[key], mini[key]) {
			out = append(out, fmt.Sprintf("at %q, %s:\n    Pod:     %s\n    MiniPod: %s", moment, key, pod[key], mini[key]))
		}
	}
	return out
}

func (r *report) meant(moment, key, pod, mini string) bool {
	for i, d := range Differences {
		if (d.At == "" || d.At == moment) && matches(d.Key, key) && matches(d.Pod, pod) && matches(d.MiniPod, mini) {
			r.Lock()
			defer r.Unlock()
			r.met[i]++
			return true
		}
	}
	return false
}

func matches(pattern, said string) bool {
	return regexp.MustCompile("^(?s:" + pattern + ")$").MatchString(said)
}

// namespaceOfOurs is one with what histories read.
func namespaceOfOurs(t *testing.T) string {
	t.Helper()
	ns, err := native.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "twin-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := native.CoreV1().Namespaces().Delete(context.Background(), ns.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	objects := metav1.ObjectMeta{Name: "config"}
	if _, err := native.CoreV1().ConfigMaps(ns.Name).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: objects,
		Data: map[string]string{"one": "1", "two": "2", "not-a.name": "3"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}} // that the controller manager makes otherwise, some time
	if _, err := native.CoreV1().ServiceAccounts(ns.Name).Create(t.Context(), account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	objects.Name = "secret"
	if _, err := native.CoreV1().Secrets(ns.Name).Create(t.Context(), &corev1.Secret{ObjectMeta: objects,
		StringData: map[string]string{"password": "swordfish"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return ns.Name
}
