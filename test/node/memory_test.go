package node

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// What containers leave in volumes in memory counts when they start again.
func TestMemoryVolumesCount(t *testing.T) {
	e := newEnv(t)
	e.run(e.sh("a", `if [ -e /a/big ]; then dd if=/dev/zero of=/b/big bs=1M count=16 2>/dev/null; echo second: $(stat -c %s /b/big); sleep 1000; fi
dd if=/dev/zero of=/a/big bs=1M count=16; echo first; exit 1`, func(p *miniv1.MiniPod) {
		for _, name := range []string{"a", "b"} {
			p.Spec.Volumes = append(p.Spec.Volumes, miniv1.Volume{Name: name, EmptyDir: &miniv1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}})
			p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, miniv1.VolumeMount{Name: name, MountPath: "/" + name})
		}
		p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("24Mi")}
	}))
	e.until("it ran again", func() bool {
		log := e.logOf(e.get("a"))
		s := e.get("a").Status.ContainerStatuses
		return strings.Contains(log, "second") || len(s) > 0 && s[0].RestartCount > 1
	})
	if log := e.logOf(e.get("a")); strings.Contains(log, "second: 16777216") {
		t.Error("a container of 24 MiB holds 32:\n" + log)
	}
	e.delete("a")
	e.gone("a")
	e.clean()
}
