package heartbeat

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// A lane that swings around its limit changes its mind once each way.
func TestUnderPressure(t *testing.T) {
	var got []bool
	pressure := false
	for _, used := range []int64{0, 899, 900, 1000, 899, 900, 760, 751, 750, 751, 899, 900, 0} {
		pressure = underPressure(pressure, used, 1000)
		got = append(got, pressure)
	}
	want := []bool{false, false, true, true, true, true, true, true, false, false, false, true, false}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestPIDPressure(t *testing.T) {
	b := newBench(t)
	used, failure := int64(10), error(nil)
	b.heart.PIDs, b.heart.MaxPIDs = func() (int64, error) { return used, failure }, 1000
	condition := func() *metav1.Condition {
		b.heart.tend(t.Context())
		return meta.FindStatusCondition(b.mini().Status.Conditions, miniv1.ConditionPIDPressure)
	}
	if c := condition(); c == nil || c.Status != metav1.ConditionFalse || c.Reason != miniv1.ReasonSufficientPIDs {
		t.Errorf("%+v", c)
	}
	b.wrote()
	if used = 500; condition().Status != metav1.ConditionFalse || len(b.wrote()) != 0 {
		t.Error("more processes are told, which are not too many")
	}
	used = 950
	if c := condition(); c.Status != metav1.ConditionTrue || c.Reason != miniv1.ReasonInsufficientPIDs {
		t.Errorf("%+v", c)
	}
	b.wrote()
	used, failure = 0, errors.New("no such cgroup")
	if c := condition(); c.Status != metav1.ConditionTrue || len(b.wrote()) != 0 {
		t.Errorf("that it is not known is taken for an end: %+v", c)
	}
	failure = nil
	if c := condition(); c.Status != metav1.ConditionFalse {
		t.Errorf("%+v", c)
	}
	if diff := cmp.Diff([]string{"status *v1alpha1.MiniNode"}, b.wrote()); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
}
