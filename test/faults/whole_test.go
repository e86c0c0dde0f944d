package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// A life is judged by what its programs wrote down, among the lines of others.
func TestJudge(t *testing.T) {
	whole := "first side second main postStart preStop term side-term"
	for name, test := range map[string]struct{ did, want string }{
		"whole":                          {whole, ""},
		"deleted before it began":        {"first", ""},
		"no postStart, which was lost":   {"first side second main preStop term side-term", ""},
		"preStop again":                  {"first side second main postStart preStop preStop term side-term", ""},
		"an init container again":        {"first first side second main", "first was done twice"},
		"a container again":              {"first side second main main", "main was done twice"},
		"postStart again":                {"first side second main postStart postStart", "postStart was done twice"},
		"no preStop":                     {"first side second main postStart term side-term", "before its preStop"},
		"preStop too late":               {"first side second main postStart term preStop", "before its preStop"},
		"out of turn":                    {"first second side main", "second came too early"},
		"the sidecar ended before":       {"first side second main preStop side-term term", "term came too early"},
		"an init container was left out": {"first side main", "second was left out"},
		"volumes":                        {"first side second wrong-volumes main", "volumes"},
	} {
		lines := []string{"one first"}
		for what := range strings.FieldsSeq(test.did) {
			lines = append(lines, "uid "+what, fmt.Sprintf("other-%d first", len(lines)))
		}
		lives, err := judge(lines)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		if wants := strings.HasSuffix(test.did, "term"); wants != (lives == 1) {
			t.Errorf("%s: %d whole lives", name, lives)
		}
	}
}

// A run that saw few lives proves little, and says so.
func TestFewLives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := judgeFile(path); err == nil {
		t.Error("nothing was written down, and that is fine")
	}
	if err := os.WriteFile(path, []byte("uid first\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := judgeFile(path); err == nil || !strings.Contains(err.Error(), "proves little") {
		t.Errorf("one life: %v", err)
	}
}

// The manifests of the campaign are what their types say, with everything that they are there for.
func TestWholeSpec(t *testing.T) {
	set, objects, err := (&world{wild: "ns"}).whole("name", "/witness")
	if err != nil || len(objects) != 2 {
		t.Fatal(objects, err)
	}
	spec := &set.Spec.Template.Spec
	main := spec.Containers[0]
	if main.Lifecycle.PostStart == nil || main.Lifecycle.PreStop == nil || main.LivenessProbe == nil || main.ReadinessProbe == nil || main.StartupProbe == nil {
		t.Errorf("main: %+v", main)
	}
	for _, c := range spec.AllContainers() {
		if c.Image != imageQuiet || len(c.VolumeMounts) != len(spec.Volumes) || len(c.Env) != 1 {
			t.Errorf("%s: %+v", c.Name, c)
		}
	}
	if i := slices.IndexFunc(spec.Volumes, func(v miniv1.Volume) bool { return v.HostPath != nil }); i < 0 || spec.Volumes[i].HostPath.Path != "/witness" {
		t.Errorf("volumes: %+v", spec.Volumes)
	}
}

// What an agent has more of is told, by how much is too much; what it has less of is not.
func TestMore(t *testing.T) {
	before := parseGauges("# HELP go_goroutines x\ngo_goroutines 300\nprocess_open_fds 100\nminiplane_agent_pods 80\nlabelled{a=\"b c\"} 1\nminiplane_agent_probed_containers 0\n")
	for name, test := range map[string]struct {
		after string
		want  []string
	}{
		"the same":              {"go_goroutines 300\nminiplane_agent_pods 80\n", nil},
		"some that come and go": {"go_goroutines 335\nprocess_open_fds 110\nminiplane_agent_pods 79\n", nil},
		"a probe that goes on":  {"minidplane 1\nminiplane_agent_probed_containers 1\n", []string{"n: miniplane_agent_probed_containers is 1, and was 0"}},
		"goroutines":            {"go_goroutines 341\n", []string{"n: go_goroutines is 341, and was 300"}},
		"descriptors":           {"process_open_fds 1e+03\n", []string{"n: process_open_fds is 1000, and was 100"}},
	} {
		if diff := cmp.Diff(test.want, more("n", before, parseGauges(test.after))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
