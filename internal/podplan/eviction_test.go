package podplan

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

func TestExceeds(t *testing.T) {
	volume := func(name, limit string, medium corev1.StorageMedium) miniv1.Volume {
		v := miniv1.Volume{Name: name, EmptyDir: &miniv1.EmptyDirVolumeSource{Medium: medium}}
		if limit != "" {
			size := resource.MustParse(limit)
			v.EmptyDir.SizeLimit = &size
		}
		return v
	}
	for _, test := range []struct {
		volume miniv1.Volume
		used   int64
		want   string
	}{
		{volume("v", "1Gi", ""), 1 << 30, ""},
		{volume("v", "1Gi", ""), 1<<30 + 1, `Usage of EmptyDir volume "v" exceeds the limit "1Gi".`},
		{volume("v", "1500M", ""), 1 << 31, `Usage of EmptyDir volume "v" exceeds the limit "1500M".`},
		{volume("v", "0", ""), 1 << 40, ""}, // as natively
		{volume("v", "", ""), 1 << 40, ""},
		{volume("v", "1Mi", corev1.StorageMediumMemory), 1 << 40, ""}, // held by its file system
		{miniv1.Volume{Name: "v", HostPath: &miniv1.HostPathVolumeSource{Path: "/"}}, 1 << 40, ""},
	} {
		pod := &miniv1.MiniPod{Spec: miniv1.MiniPodSpec{Volumes: []miniv1.Volume{test.volume}}}
		if got := Exceeds(pod, map[string]int64{"v": test.used}); got != test.want {
			t.Errorf("%+v with %d: %q, want %q", test.volume, test.used, got, test.want)
		}
	}
	if DiskLimits(&miniv1.MiniPod{Spec: miniv1.MiniPodSpec{Volumes: []miniv1.Volume{volume("v", "", "")}}}) != nil || DiskLimits(nil) != nil {
		t.Error("limits where there are none")
	}
}

// One that is evicted has a second to end, or less if it says so.
func TestHurried(t *testing.T) {
	for seconds, want := range map[int64]time.Duration{0: 0, 1: time.Second, 1000: time.Second} {
		pod := &miniv1.MiniPod{Spec: miniv1.MiniPodSpec{TerminationGracePeriodSeconds: &seconds}}
		if got := grace(hurried(pod, &Observation{Evicted: "x"})); got != want {
			t.Errorf("%d seconds: %v, want %v", seconds, got, want)
		}
		if got := hurried(pod, &Observation{Overdue: true}); got != pod {
			t.Error("one that is not evicted is hurried")
		}
	}
}
