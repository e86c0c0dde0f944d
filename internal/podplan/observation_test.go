package podplan

import (
	"net/netip"
	"testing"
)

func TestObservation(t *testing.T) {
	o := seen(container("main", 0, 0))
	o.Set(container("main", 0, 0, runs))
	o.Set(container("b", 0, 0))
	o.Drop("unknown")
	o.Drop(id("b", 0))
	if len(o.Containers) != 1 || o.Containers[0].State != StateRunning {
		t.Errorf("containers: %v", o.Containers)
	}
	o.Look(NewObservation())
	if !o.NothingLeft() || o.FilesFor != (netip.Addr{}) {
		t.Errorf("after a look at nothing: %+v", o)
	}
	if Launches([]Action{{Type: PullImage}, {Type: RemoveContainer}}) || !Launches([]Action{{Type: PullImage}, {Type: StartContainer}}) {
		t.Error("launches")
	}
}
