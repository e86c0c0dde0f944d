package resources_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	. "miniplane.dev/miniplane/internal/resources"
	"miniplane.dev/miniplane/test/builders"
)

const mi = 1 << 20

func TestRequestsAndLimits(t *testing.T) {
	second := func(requests, limits corev1.ResourceList) func(*miniv1.MiniPod) {
		return func(p *miniv1.MiniPod) {
			p.Spec.Containers = append(p.Spec.Containers, miniv1.Container{Name: "second",
				Resources: miniv1.ResourceRequirements{Requests: requests, Limits: limits}})
		}
	}
	cpu := func(v string) corev1.ResourceList { return corev1.ResourceList{"cpu": resource.MustParse(v)} }
	cases := []struct {
		name             string
		pod              *miniv1.MiniPod
		requests, limits Amounts
		qos              corev1.PodQOSClass
	}{
		{"nothing", builders.Pod("a", "p").Obj(), Amounts{}, Amounts{}, corev1.PodQOSBestEffort},
		{"a fraction of a core", builders.Pod("a", "p").Requests("0.05", "16Mi").Obj(), Amounts{50, 16 * mi}, Amounts{}, corev1.PodQOSBurstable},
		{"less than a thousandth is one", builders.Pod("a", "p").Requests("100u", "").Obj(), Amounts{1, 0}, Amounts{}, corev1.PodQOSBurstable},
		{"request defaults to limit", builders.Pod("a", "p").Limits("1", "64Mi").Obj(), Amounts{1000, 64 * mi}, Amounts{1000, 64 * mi}, corev1.PodQOSGuaranteed},
		{"each resource by itself", builders.Pod("a", "p").Requests("100m", "").Limits("1", "64Mi").Obj(), Amounts{100, 64 * mi}, Amounts{1000, 64 * mi}, corev1.PodQOSBurstable},
		{"sum of containers", builders.Pod("a", "p").Requests("100m", "1Mi").With(second(cpu("200m"), cpu("2"))).Obj(), Amounts{300, mi}, Amounts{2000, 0}, corev1.PodQOSBurstable},
		{"negative is nothing", builders.Pod("a", "p").Requests("-1", "-1").Obj(), Amounts{}, Amounts{}, corev1.PodQOSBestEffort},
		{"huge stays huge", builders.Pod("a", "p").Requests("8E", "8E").With(second(cpu("8E"), nil)).Obj(), Amounts{math.MaxInt64, 8e18}, Amounts{}, corev1.PodQOSBurstable},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.requests, Requests(&c.pod.Spec)); diff != "" {
				t.Error("requests", diff)
			}
			if diff := cmp.Diff(c.limits, Limits(&c.pod.Spec)); diff != "" {
				t.Error("limits", diff)
			}
			if got := QoS(&c.pod.Spec); got != c.qos {
				t.Errorf("QoS = %s, want %s", got, c.qos)
			}
		})
	}
}

func TestArithmetic(t *testing.T) {
	a, b := Amounts{300, 3 * mi}, Amounts{100, mi}
	if diff := cmp.Diff(Amounts{400, 4 * mi}, a.Add(b)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Amounts{200, 2 * mi}, a.Sub(b)); diff != "" {
		t.Error(diff)
	}
	fits := []struct {
		name      string
		ask, room Amounts
		want      bool
	}{
		{"less", Amounts{1, 1}, Amounts{2, 2}, true},
		{"exactly", Amounts{2, 2}, Amounts{2, 2}, true},
		{"cpu too much", Amounts{3, 1}, Amounts{2, 2}, false},
		{"memory too much", Amounts{1, 3}, Amounts{2, 2}, false},
		{"nothing fits into an over-used node", Amounts{0, 0}, Amounts{-5, -5}, true},
	}
	for _, c := range fits {
		if got := c.ask.Fits(c.room); got != c.want {
			t.Errorf("%s: %v.Fits(%v) = %v", c.name, c.ask, c.room, got)
		}
	}
	if got, want := a.String(), "cpu 300m, memory 3Mi"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
}

func TestAllocatable(t *testing.T) {
	node := &miniv1.MiniNode{Status: miniv1.MiniNodeStatus{Allocatable: corev1.ResourceList{
		"cpu": resource.MustParse("1500m"), "memory": resource.MustParse("1Gi"), "pods": resource.MustParse("500")}}}
	room, pods := Allocatable(node)
	if diff := cmp.Diff(Amounts{1500, 1 << 30}, room); diff != "" || pods != 500 {
		t.Error(diff, pods)
	}
	if room, pods := Allocatable(&miniv1.MiniNode{}); room != (Amounts{}) || pods != 0 {
		t.Error("an unreported node has room:", room, pods)
	}
}

func TestFormat(t *testing.T) {
	for milli, want := range map[int64]string{0: "0", 1: "1m", 800: "800m", 1000: "1", 1500: "1500m", 64000: "64"} {
		if got := FormatCPU(milli); got != want {
			t.Errorf("FormatCPU(%d) = %q, want %q", milli, got, want)
		}
		if q := CPUQuantity(milli); q.String() != want {
			t.Errorf("CPUQuantity(%d) = %q, want %q", milli, q.String(), want)
		}
	}
	memory := map[int64]string{0: "0", 1023: "1023", 1024: "1Ki", 64 * mi: "64Mi", 1 << 30: "1Gi", 100e6: "100M", 100e6 + 1: "95.3Mi",
		3<<29 + 1: "1.5Gi", 1025: "1.0Ki", 4 << 60: "4194304Ti"}
	for bytes, want := range memory {
		if got := FormatMemory(bytes); got != want {
			t.Errorf("FormatMemory(%d) = %q, want %q", bytes, got, want)
		}
	}
	if q := MemoryQuantity(64 * mi); q.String() != "64Mi" {
		t.Error(q.String())
	}
}
