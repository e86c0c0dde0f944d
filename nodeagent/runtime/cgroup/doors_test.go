package cgroup

import (
	"os"
	"testing"
)

// TestDoors: there is one for each hierarchy of v1, and none of a cgroup that is not there.
func TestDoors(t *testing.T) {
	legacy := len(Legacy())
	if doors, err := Doors("/miniplane-test-none-" + t.Name()); legacy > 0 && err == nil || len(doors) > 0 {
		t.Errorf("doors of no cgroup: %v, %v", doors, err)
	}
	if os.Geteuid() != 0 {
		return
	}
	doors, err := Doors("/")
	if err != nil || len(doors) != legacy {
		t.Errorf("%d doors, %d hierarchies: %v", len(doors), legacy, err)
	}
	for _, door := range doors {
		_ = door.Close()
	}
}
