package statuspatch

import (
	"context"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/builders"
	"miniplane.dev/miniplane/test/testenv"
)

func condition(of string, status metav1.ConditionStatus) metav1.Condition {
	return metav1.Condition{Type: of, Status: status, Reason: "Test"}
}

// stored gives an API server with one MiniPod that has condition A, and the requests that were made of it.
func stored(t *testing.T) (client.Client, *miniv1.MiniPod, *[]string) {
	t.Helper()
	pod := builders.Pod("ns", "a").Obj()
	pod.Status.Conditions = []metav1.Condition{condition("A", metav1.ConditionTrue)}
	var sent []string
	c := fake.NewClientBuilder().WithScheme(testenv.Scheme()).WithObjects(pod).WithStatusSubresource(pod).
		WithInterceptorFuncs(interceptor.Funcs{
			SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
				data, err := patch.Data(obj)
				if err != nil {
					return err
				}
				sent = append(sent, string(data))
				return c.SubResource(sub).Patch(ctx, obj, patch, opts...)
			},
		}).Build()
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
		t.Fatal(err)
	}
	return c, pod, &sent
}

// write changes a status as it was read.
func write(t *testing.T, c client.Client, from *miniv1.MiniPod, change func(*miniv1.MiniPodStatus)) error {
	t.Helper()
	after := from.DeepCopy()
	change(&after.Status)
	_, err := PatchShared(t.Context(), c, from, after)
	return err
}

func TestNothingChanged(t *testing.T) {
	c, pod, sent := stored(t)
	if wrote, err := PatchShared(t.Context(), c, pod, pod.DeepCopy()); wrote || err != nil || len(*sent) > 0 {
		t.Errorf("%v, %v, %v", wrote, err, *sent)
	}
}

func TestConditionsOfAnOldVersionAreNotWritten(t *testing.T) {
	for name, others := range map[string]func(*[]metav1.Condition){
		"added":   func(l *[]metav1.Condition) { meta.SetStatusCondition(l, condition("B", metav1.ConditionTrue)) },
		"removed": func(l *[]metav1.Condition) { meta.RemoveStatusCondition(l, "A") },
	} {
		t.Run(name, func(t *testing.T) {
			c, pod, _ := stored(t)
			if err := write(t, c, pod, func(s *miniv1.MiniPodStatus) { others(&s.Conditions) }); err != nil {
				t.Fatal(err)
			}
			add := func(s *miniv1.MiniPodStatus) {
				meta.SetStatusCondition(&s.Conditions, condition("Mine", metav1.ConditionTrue))
			}
			if err := write(t, c, pod, add); !apierrors.IsConflict(err) {
				t.Fatalf("error %v, want a conflict", err)
			}
			now := &miniv1.MiniPod{}
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(pod), now); err != nil {
				t.Fatal(err)
			}
			if err := write(t, c, now, add); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestTheRestNeedsNoVersion(t *testing.T) {
	c, pod, sent := stored(t)
	if err := write(t, c, pod, func(s *miniv1.MiniPodStatus) { s.Restarts = 1 }); err != nil {
		t.Fatal(err)
	}
	if err := write(t, c, pod, func(s *miniv1.MiniPodStatus) { s.Restarts = 2 }); err != nil {
		t.Fatal(err)
	}
	for _, data := range *sent {
		if want := `{"status":{"restarts":`; data[:len(want)] != want {
			t.Errorf("sent %s", data)
		}
	}
}

// Where a status has one writer, what it says holds for every version: a change of anything else is no conflict.
func TestOneWriterNeedsNoVersion(t *testing.T) {
	c, pod, sent := stored(t)
	other := pod.DeepCopy()
	other.Labels = map[string]string{"app": "web"}
	if err := c.Update(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	after := pod.DeepCopy()
	meta.SetStatusCondition(&after.Status.Conditions, condition("B", metav1.ConditionTrue))
	if wrote, err := Patch(t.Context(), c, pod, after); !wrote || err != nil || len(*sent) != 1 {
		t.Errorf("%v, %v, %v", wrote, err, *sent)
	}
}
