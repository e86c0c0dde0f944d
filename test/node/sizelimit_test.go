package node

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// TestSizeLimit: a MiniPod that is found to take more of the disk than its emptyDir may is ended, whatever its containers do about it, and holds nothing any more;
// an agent that comes after another finds it out as well.
func TestSizeLimit(t *testing.T) {
	for name, flags := range shims {
		t.Run(name, func(t *testing.T) { testSizeLimit(t, newEnv(t, flags...)) })
	}
}

func testSizeLimit(t *testing.T, e *env) {
	t.Helper()
	limited := func(size string) func(*miniv1.MiniPod) {
		limit := resource.MustParse(size)
		return func(p *miniv1.MiniPod) {
			grace := int64(1000)
			p.Spec.TerminationGracePeriodSeconds = &grace
			p.Spec.Volumes = []miniv1.Volume{{Name: "x", EmptyDir: &miniv1.EmptyDirVolumeSource{Medium: corev1.StorageMediumDefault, SizeLimit: &limit}}}
			p.Spec.Containers[0].VolumeMounts = []miniv1.VolumeMount{{Name: "x", MountPath: "/x", SubPath: "deep"}}
		}
	}
	writes := `trap "" TERM; dd if=/dev/zero of=/x/large bs=1M count=3 2>/dev/null; while :; do sleep 1; done`
	e.run(e.sh("over", writes, limited("2Mi")))
	e.run(e.sh("under", writes, limited("5Mi")))
	e.run(e.sh("sparse", `truncate -s 1G /x/large; while :; do sleep 1; done`, limited("2Mi")))
	for _, name := range []string{"over", "under", "sparse"} {
		e.shows(name, "Running", miniv1.ReasonEvicted)
	}
	e.kill()
	e.start()
	pod := e.shows("over", miniv1.ReasonEvicted)
	if pod.Status.Phase != miniv1.PodFailed || pod.Status.Message != `Usage of EmptyDir volume "x" exceeds the limit "2Mi".` || pod.Status.Restarts != 0 {
		t.Errorf("status %+v", pod.Status)
	}
	for _, name := range []string{"under", "sparse"} {
		if now := e.get(name); now.Status.Summary != "Running" || now.Status.Restarts != 0 {
			t.Errorf("%s: %+v", name, now.Status)
		}
		zero := int64(0)
		now := e.get(name)
		now.Spec.TerminationGracePeriodSeconds = &zero
		if err := e.api.Update(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		e.delete(name)
		e.gone(name)
	}
	e.delete("over")
	e.gone("over")
	e.clean()
}
