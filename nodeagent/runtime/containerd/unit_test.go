package containerd

import (
	"strings"
	"testing"
	"time"

	"github.com/containerd/cgroups/v3"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

func TestNormalize(t *testing.T) {
	for ref, want := range map[string]string{
		"nginx":                   "docker.io/library/nginx:latest",
		"nginx:1.27":              "docker.io/library/nginx:1.27",
		"team/app":                "docker.io/team/app:latest",
		"quay.io/team/app:1":      "quay.io/team/app:1",
		"localhost:5000/app":      "localhost:5000/app:latest",
		"index.docker.io/nginx:1": "docker.io/library/nginx:1",
		"UPPER":                   "",
		"":                        "",
	} {
		if got, err := normalize(ref); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", ref, got, err, want)
		}
	}
}

func TestResolveUser(t *testing.T) {
	known := accounts{
		users:  [][]string{{"root", "x", "0", "0"}, {"web", "x", "33", "34"}},
		groups: [][]string{{"root", "x", "0", "root"}, {"www", "x", "34", ""}, {"extra", "x", "50", "web,other"}, {"short", "x", "51"}},
	}
	for wanted, want := range map[string]*specs.User{
		"":          {AdditionalGids: []uint32{0}},
		"root":      {AdditionalGids: []uint32{0}},
		"0:0":       {AdditionalGids: []uint32{0}},
		"web":       {UID: 33, GID: 34, AdditionalGids: []uint32{34, 50}},
		"33":        {UID: 33, GID: 34, AdditionalGids: []uint32{34, 50}},
		"web:extra": {UID: 33, GID: 50, AdditionalGids: []uint32{50}},
		"1234":      {UID: 1234, AdditionalGids: []uint32{0}},
		"1234:77":   {UID: 1234, GID: 77, AdditionalGids: []uint32{77}},
		"nobody":    nil,
		"web:none":  nil,
	} {
		got, err := resolveUser(wanted, known)
		if want == nil {
			if err == nil {
				t.Errorf("%q: no error", wanted)
			}
			continue
		}
		if diff := cmp.Diff(*want, got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", wanted, err, diff)
		}
	}
}

func TestArguments(t *testing.T) {
	image := &imageFacts{config: ocispec.ImageConfig{Entrypoint: []string{"/entry"}, Cmd: []string{"default"}, WorkingDir: "work",
		Env: []string{"PATH=/image", "A=1"}}}
	for _, test := range []struct {
		name string
		spec runtime.ContainerSpec
		args []string
	}{
		{"nothing given", runtime.ContainerSpec{}, []string{"/entry", "default"}},
		{"args", runtime.ContainerSpec{Args: []string{"x"}}, []string{"/entry", "x"}},
		{"command", runtime.ContainerSpec{Command: []string{"/own"}}, []string{"/own"}},
		{"both", runtime.ContainerSpec{Command: []string{"/own"}, Args: []string{"x"}}, []string{"/own", "x"}},
	} {
		if diff := cmp.Diff(test.args, arguments(test.spec, image)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
	if got := workingDir(runtime.ContainerSpec{}, image); got != "/work" {
		t.Errorf("working directory %q", got)
	}
	if got := workingDir(runtime.ContainerSpec{WorkingDir: "/own"}, image); got != "/own" {
		t.Errorf("working directory %q", got)
	}
	env := environment(runtime.ContainerSpec{Hostname: "web-0", Env: []string{"A=2", "B=3", "A=4"}}, image)
	if diff := cmp.Diff([]string{"PATH=/image", "HOSTNAME=web-0", "A=4", "B=3"}, env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	env = environment(runtime.ContainerSpec{Env: []string{"HOSTNAME=mine"}}, &imageFacts{})
	if diff := cmp.Diff([]string{"HOSTNAME=mine"}, env[1:]); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func TestOCISpec(t *testing.T) {
	got := ociSpec(runtime.ContainerSpec{
		ID: "c", Group: "pod", Command: []string{"x"}, CgroupPath: "/miniplane/podx/c", LogPath: "/log",
		Namespaces: runtime.Namespaces{Net: "/n", IPC: "/i", UTS: "/u"},
		Mounts:     []runtime.Mount{{HostPath: "/h", ContainerPath: "/dev/shm/"}, {HostPath: "/r", ContainerPath: "/data/deep", ReadOnly: true}},
		Resources:  runtime.Resources{CPUQuota: 1000, MemoryLimit: 4096, OOMScoreAdj: -998},
	}, &imageFacts{}, rights{user: specs.User{UID: 5}, capabilities: capabilities, seccomp: seccompProfile}, -3)
	shares, quota, period, memory, adj := uint64(2), int64(1000), uint64(100_000), int64(4096), -3
	var whole map[string]string
	if cgroups.Mode() == cgroups.Unified {
		whole = map[string]string{"memory.oom.group": "1"}
	}
	if diff := cmp.Diff(&specs.LinuxResources{
		CPU:     &specs.LinuxCPU{Shares: &shares, Quota: &quota, Period: &period},
		Memory:  &specs.LinuxMemory{Limit: &memory, Swap: &memory},
		Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"}},
		Unified: whole,
	}, got.Linux.Resources); diff != "" {
		t.Errorf("resources (-want +got):\n%s", diff)
	}
	if *got.Process.OOMScoreAdj != adj || got.Process.Capabilities.Effective != nil || len(got.Process.Capabilities.Inheritable) > 0 {
		t.Errorf("process %+v", got.Process)
	}
	want := []specs.LinuxNamespace{{Type: "mount"}, {Type: "pid"}, {Type: "network", Path: "/n"}, {Type: "ipc", Path: "/i"}, {Type: "uts", Path: "/u"}}
	if diff := cmp.Diff(want, got.Linux.Namespaces[:5]); diff != "" {
		t.Errorf("namespaces (-want +got):\n%s", diff)
	}
	last := map[string]int{}
	for i, m := range got.Mounts {
		if _, twice := last[m.Destination]; twice {
			t.Errorf("%s is mounted twice", m.Destination)
		}
		last[m.Destination] = i
	}
	if shm := got.Mounts[last["/dev/shm"]]; shm.Source != "/h" || last["/dev"] > last["/dev/shm"] {
		t.Errorf("shared memory: %+v", shm)
	}
	if diff := cmp.Diff([]string{"rbind", "rprivate", "ro"}, got.Mounts[last["/data/deep"]].Options); diff != "" {
		t.Errorf("read-only mount (-want +got):\n%s", diff)
	}
	if got.Linux.Seccomp == nil || len(got.Linux.MaskedPaths) == 0 || got.Annotations[annotationGroup] != "pod" {
		t.Errorf("%+v", got)
	}
}

func TestExitLabel(t *testing.T) {
	for _, want := range []exit{
		{code: 137, started: time.Unix(5, 6), finished: time.Unix(7, 8), oom: true},
		{},
	} {
		got, ok := parseExit(want.String())
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(exit{}), cmpopts.EquateComparable(time.Time{})); diff != "" || !ok {
			t.Errorf("%q: %t (-want +got):\n%s", want.String(), ok, diff)
		}
	}
	for _, text := range []string{"", "1 2 3", "x 1 2 true"} {
		if _, ok := parseExit(text); ok {
			t.Errorf("%q was read", text)
		}
	}
}

// TestLargeRecord: what a container is to be told, as its variables, has a bound, however it is written: the records of all containers are read together.
func TestLargeRecord(t *testing.T) {
	r := &Runtime{}
	record := func(variable string) error {
		spec := runtime.ContainerSpec{ID: "a", Image: "a"}
		for range 10 {
			spec.Env = append(spec.Env, "LARGE="+variable)
		}
		oci := &specs.Spec{Process: &specs.Process{Args: []string{"a"}, Env: spec.Env}}
		_, err := r.record(t.Context(), spec, &imageFacts{}, oci)
		return err
	}
	if err := record(strings.Repeat("x", 90<<10)); err != nil {
		t.Error(err)
	}
	for _, letter := range []string{"x", "<"} { // which is written in six
		if err := record(strings.Repeat(letter, 120<<10)); !errdefs.IsInvalidArgument(err) {
			t.Errorf("ten times 120 kB of %q: %v", letter, err)
		}
	}
}

// What another start of the same container has to do with a failure is no word about the container.
func TestInTheWay(t *testing.T) {
	const bundle = "/run/containerd/io.containerd.runtime.v2.task/miniplane/u-main-0"
	for words, unanswered := range map[string]bool{
		"mkdir " + bundle + ": file exists":       true,
		"mkdir " + bundle + "-more: file exists":  false,
		"mkdir /somewhere/u-main-10: file exists": false,
		"failed to start shim: start failed: failed to write bootstrap.json: failed to create temp file: open " + bundle + "/2345987597: no such file or directory": true,
		"failed to start shim: start failed: fork/exec /usr/bin/containerd-shim: no such file or directory":                                                         false,
		"OCI runtime create failed: mount " + bundle + "/rootfs/x: no such file or directory":                                                                       false,
	} {
		if err := inTheWay(errdefs.ErrUnknown.WithMessage(words), "u-main-0"); runtime.IsUnanswered(err) != unanswered {
			t.Errorf("%q: unanswered: %t", err, !unanswered)
		}
	}
}
