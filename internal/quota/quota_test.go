package quota_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	. "miniplane.dev/miniplane/internal/quota"
	"miniplane.dev/miniplane/internal/resources"
	"miniplane.dev/miniplane/test/builders"
)

// list makes a ResourceList from pairs of key and quantity.
func list(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

// texts makes a ResourceList comparable.
func texts(l corev1.ResourceList) map[string]string {
	out := map[string]string{}
	for key, q := range l {
		out[string(key)] = q.String()
	}
	return out
}

func usage(milli, bytes int64) Usage {
	return Usage{Requests: resources.Amounts{MilliCPU: milli, MemoryBytes: bytes}}
}

func TestCheckMessages(t *testing.T) {
	both := builders.Pod("a", "p").Requests("200m", "64Mi").Limits("400m", "128Mi").Obj()
	cases := []struct {
		name string
		hard corev1.ResourceList
		used Usage
		pod  *miniv1.MiniPod
		want string
	}{
		{"fits", list("cpu", "1"), usage(800, 0), both, ""},
		{"full", list("cpu", "1"), usage(1000, 0), both, `quota "team" exceeded: cpu asks 200m, used 1 of 1`},
		{"by a thousandth", list("cpu", "1"), usage(801, 0), both, `quota "team" exceeded: cpu asks 200m, used 801m of 1`},
		{"the long name is the same", list("requests.cpu", "1"), usage(1000, 0), both, `quota "team" exceeded: requests.cpu asks 200m, used 1 of 1`},
		{"two at once", list("cpu", "100m", "memory", "32Mi"), usage(0, 0), both,
			`quota "team" exceeded: cpu asks 200m, used 0 of 100m; memory asks 64Mi, used 0 of 32Mi`},
		{"limits", list("limits.cpu", "300m", "limits.memory", "1Gi"), usage(0, 0), both, `quota "team" exceeded: limits.cpu asks 400m, used 0 of 300m`},
		{"limits memory", list("limits.memory", "64Mi"), usage(0, 0), both, `quota "team" exceeded: limits.memory asks 128Mi, used 0 of 64Mi`},
		{"no limit given", list("limits.cpu", "1"), usage(0, 0), builders.Pod("a", "p").Requests("1", "").Obj(),
			`quota "team" needs amounts: container "main" must say its resources.limits.cpu`},
		{"no request given", list("cpu", "1"), usage(0, 0), builders.Pod("a", "p").Requests("", "1Mi").Obj(),
			`quota "team" needs amounts: container "main" must say its resources.requests.cpu`},
		{"a limit is a request too", list("cpu", "1"), usage(0, 0), builders.Pod("a", "p").Limits("1", "").Obj(), ""},
		{"asking for nothing is always possible", list("cpu", "1"), usage(5000, 0), builders.Pod("a", "p").Requests("0", "").Obj(), ""},
		{"counts are not ours to check", list("count/minipods", "0"), usage(0, 0), both, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			charge := ChargeOf(&c.pod.Spec)
			got := ""
			if exceeded := Check("team", BoundsOf(c.hard), c.used, &charge); exceeded != nil {
				got = exceeded.Message()
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLedgerSeveralQuotasMustAllHold(t *testing.T) {
	l := NewLedger()
	l.SetQuota("a", "wide", list("cpu", "10"))
	l.SetQuota("a", "narrow", list("cpu", "300m"))
	charge := ChargeOf(&builders.Pod("a", "p").Requests("200m", "").Obj().Spec)
	if e := l.Admit("1", "a", &charge); e != nil {
		t.Fatal(e.Message())
	}
	if e := l.Admit("1", "a", &charge); e != nil {
		t.Fatal("admitting twice charges twice:", e.Message())
	}
	if e := l.Admit("2", "a", &charge); e == nil || e.Quota != "narrow" {
		t.Fatal("want narrow exceeded, got", e)
	}
	if e := l.Admit("2", "b", &charge); e != nil {
		t.Fatal("another namespace is bounded too:", e.Message())
	}
	l.DeleteQuota("a", "narrow")
	if e := l.Check("a", &charge); e != nil {
		t.Fatal(e.Message())
	}
	l.Charge("3", "a", usage(20_000, 0))
	if e := l.Check("a", &charge); e == nil || e.Quota != "wide" {
		t.Fatal("want wide exceeded, got", e)
	}
	l.Charge("3", "a", usage(100, 0)) // changed in place
	if got := l.Used("a"); got != usage(300, 0) {
		t.Fatal(got)
	}
	if !l.Release("1") || l.Release("1") || !l.Release("3") {
		t.Fatal("Release must tell what it did")
	}
	if got := l.Used("a"); got != (Usage{}) {
		t.Fatal(got)
	}
	if got := l.Used("nowhere"); got != (Usage{}) {
		t.Fatal(got)
	}
}

// Whatever happens in whatever order, used is the sum over the charged MiniPods, and admissions never pass hard.
func TestLedgerProperty(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		l, charged, hard := NewLedger(), map[types.UID]Usage{}, int64(2000)
		l.SetQuota("a", "team", list("cpu", "2"))
		sum := func() (s Usage) {
			for _, u := range charged {
				s = s.Add(u)
			}
			return s
		}
		for step := range 2000 {
			uid := types.UID(fmt.Sprint(r.IntN(40)))
			switch r.IntN(10) {
			case 0:
				delete(charged, uid)
				l.Release(uid)
			case 1:
				hard = 500 + r.Int64N(2500)
				l.SetQuota("a", "team", corev1.ResourceList{"cpu": resources.CPUQuantity(hard)})
			default:
				c := ChargeOf(&builders.Pod("a", "p").Requests(fmt.Sprintf("%dm", 1+r.IntN(400)), "").Obj().Spec)
				before, _ := charged[uid]
				if l.Admit(uid, "a", &c) == nil && before == (Usage{}) {
					charged[uid] = c.Usage
					if now := sum().Requests.MilliCPU; now > hard {
						t.Fatalf("seed %d step %d: admitted to %d of %d", seed, step, now, hard)
					}
				}
			}
			if diff := cmp.Diff(sum(), l.Used("a")); diff != "" {
				t.Fatalf("seed %d step %d: %s", seed, step, diff)
			}
		}
	}
}

func TestCounts(t *testing.T) {
	hard := list("cpu", "1", "count/minipods", "10", "count/minipods.miniplane.dev", "8", "count/secrets", "5",
		"count/deployments.apps", "2", "pods", "3", "count/", "1")
	if diff := cmp.Diff(map[string]string{"count/minipods.miniplane.dev": "8", "count/secrets": "5", "count/deployments.apps": "2"},
		texts(NativeHard(hard, 0))); diff != "" {
		t.Error(diff)
	}
	used := CountsUsed(hard, list("count/minipods.miniplane.dev", "8", "count/secrets", "1"), 0)
	if diff := cmp.Diff(map[string]string{"count/minipods": "8", "count/minipods.miniplane.dev": "8", "count/secrets": "1"}, texts(used)); diff != "" {
		t.Error(diff)
	}
	// Two of the MiniPods do not count: the API server counts them, so it gets a higher bound, and people are told the truth.
	if diff := cmp.Diff(map[string]string{"count/minipods.miniplane.dev": "10", "count/secrets": "5", "count/deployments.apps": "2"},
		texts(NativeHard(hard, 2))); diff != "" {
		t.Error(diff)
	}
	raised := CountsUsed(hard, list("count/minipods.miniplane.dev", "10", "count/secrets", "1"), 2)
	if diff := cmp.Diff(map[string]string{"count/minipods": "8", "count/minipods.miniplane.dev": "8", "count/secrets": "1"}, texts(raised)); diff != "" {
		t.Error(diff)
	}
	late := CountsUsed(list("count/minipods", "10"), list("count/minipods.miniplane.dev", "1"), 2)
	if diff := cmp.Diff(map[string]string{"count/minipods": "0"}, texts(late)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"count/", "pods"}, UnknownKeys(hard)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"count/minipods.miniplane.dev"}, AtLimit(hard, used)); diff != "" {
		t.Error(diff)
	}
}

func TestUsedAndSummary(t *testing.T) {
	hard := list("cpu", "1", "memory", "1Gi", "limits.memory", "2Gi", "count/minipods", "10")
	used := Used(BoundsOf(hard), usage(800, 64<<20))
	if diff := cmp.Diff(map[string]string{"cpu": "800m", "memory": "64Mi", "limits.memory": "0"}, texts(used)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("count/minipods: ?/10, cpu: 800m/1, limits.memory: 0/2Gi, memory: 64Mi/1Gi", Summary(hard, used)); diff != "" {
		t.Error(diff)
	}
}

func TestUncounted(t *testing.T) {
	native := &corev1.ResourceQuota{}
	native.Spec.Hard = list("count/minipods.miniplane.dev", "5", "count/miniservices.miniplane.dev", "1", "count/secrets", "3")
	native.Status.Hard = list("count/minipods.miniplane.dev", "5", "count/miniservices.miniplane.dev", "1")
	native.Status.Used = list("count/minipods.miniplane.dev", "0")
	want := map[corev1.ResourceName]string{"count/miniservices.miniplane.dev": "miniservices"}
	if diff := cmp.Diff(want, Uncounted(native)); diff != "" {
		t.Errorf("with what Kubernetes has counted in part (-want +got):\n%s", diff)
	}
	native.Status = corev1.ResourceQuotaStatus{}
	want["count/minipods.miniplane.dev"] = "minipods"
	if diff := cmp.Diff(want, Uncounted(native)); diff != "" {
		t.Errorf("with nothing counted (-want +got):\n%s", diff)
	}
}
