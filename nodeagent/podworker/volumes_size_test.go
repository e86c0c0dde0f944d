package podworker

import (
	"context"
	"fmt"
	gort "runtime"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/volumes"
	"miniplane.dev/miniplane/test/builders"
	"miniplane.dev/miniplane/test/fakenode"
)

// largeObjects are ConfigMaps of a MiB, by whichever name.
type largeObjects struct{ Reader }

func (largeObjects) Get(_ context.Context, _ types.NamespacedName, object client.Object) error {
	object.(*corev1.ConfigMap).Data = map[string]string{"k": strings.Repeat("x", 1<<20)}
	return nil
}

// What a MiniPod wants as more files than it can have, be it one ConfigMap or its own annotations, is refused before all of it is in the agent's
// memory: the files are beside each other, or one in the place of the other.
func TestFilesWithoutEnd(t *testing.T) {
	for name, projection := range map[string]func(i int) miniv1.VolumeProjection{
		"a ConfigMap": func(i int) miniv1.VolumeProjection {
			return miniv1.VolumeProjection{ConfigMap: &miniv1.ConfigMapProjection{Name: "large", Items: []miniv1.KeyToPath{{Key: "k", Path: fmt.Sprint(i)}}}}
		},
		"annotations": func(int) miniv1.VolumeProjection {
			about := &miniv1.DownwardAPIProjection{}
			for range 64 {
				about.Items = append(about.Items, miniv1.DownwardAPIVolumeFile{Path: "same", FieldRef: &miniv1.FileFieldSelector{FieldPath: "metadata.annotations"}})
			}
			return miniv1.VolumeProjection{DownwardAPI: about}
		},
	} {
		t.Run(name, func(t *testing.T) {
			pod := builders.Pod("ns", "a").Obj()
			pod.Annotations = map[string]string{"large": strings.Repeat("\x01", 200<<10)}
			for i := range 64 {
				v := miniv1.Volume{Name: fmt.Sprint("v", i), Projected: &miniv1.ProjectedVolumeSource{}}
				for j := range 32 {
					v.Projected.Sources = append(v.Projected.Sources, projection(j))
				}
				pod.Spec.Volumes = append(pod.Spec.Volumes, v)
			}
			p := &Pool{Options: Options{Uses: largeObjects{}, Volumes: fakenode.NewVolumes(), Clock: clock.RealClock{}}}
			var before, after gort.MemStats
			gort.ReadMemStats(&before)
			made := p.makeVolumes(t.Context(), pod, nil, nil)
			gort.ReadMemStats(&after)
			if made.err == nil || made.keep || !strings.Contains(made.err.Error(), "the files of all volumes of a MiniPod can take 8 MiB") {
				t.Error(made.err)
			}
			if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 200 {
				t.Errorf("it took %d MiB to find out", took)
			}
		})
	}
}

// Volumes inside of volumes, as many as a MiniPod can have, are found when volumes are made, and not with each start of each container.
func TestVolumesInVolumes(t *testing.T) {
	pod := builders.Pod("ns", "a").Obj()
	pod.Spec.Volumes = []miniv1.Volume{{Name: "v", ConfigMap: &miniv1.ConfigMapVolumeSource{Name: "c"}}}
	c := &pod.Spec.Containers[0]
	for i := range 64 {
		c.VolumeMounts = append(c.VolumeMounts, miniv1.VolumeMount{Name: "v", MountPath: strings.Repeat("/a", i+1)})
	}
	for i := range 31 {
		other := c.DeepCopy()
		other.Name = fmt.Sprint("other", i)
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, *other)
	}
	p := &Pool{Options: Options{Volumes: fakenode.NewVolumes()}}
	if err := p.Volumes.Make(t.Context(), pod.UID, []volumes.Wanted{{Name: "v", Files: volumes.Files{}}}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	mounts, err := p.volumeMounts(pod, c, nil)
	if took := time.Since(begin); err != nil || len(mounts) != 64 || took > 500*time.Millisecond {
		t.Errorf("%d mounts after %s: %v", len(mounts), took, err)
	}
}
