package podworker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/envfile"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/fake"
	"miniplane.dev/miniplane/nodeagent/volumes"
	"miniplane.dev/miniplane/test/containerdenv"
)

func fromFile(name, path, key string, optional *bool) miniv1.EnvVar {
	return miniv1.EnvVar{Name: name, ValueFrom: &miniv1.EnvVarSource{FileKeyRef: &miniv1.FileKeySelector{VolumeName: "shared", Path: path, Key: key, Optional: optional}}}
}

// sharing gives a MiniPod an emptyDir, and its main container variables.
func sharing(env ...miniv1.EnvVar) func(*miniv1.MiniPod) {
	return func(p *miniv1.MiniPod) {
		p.Spec.Volumes = []miniv1.Volume{{Name: "shared", EmptyDir: &miniv1.EmptyDirVolumeSource{}}, {Name: "settings", ConfigMap: &miniv1.ConfigMapVolumeSource{Name: "c"}}}
		p.Spec.Containers[0].Env = env
	}
}

// Variables of files are as others: in their order, with values that later ones refer to and that refer to nothing themselves.
func TestEnvironmentFromFiles(t *testing.T) {
	files := map[string]string{"app.env": "URL='http://$(HOST)'\nEMPTY=''\nodd name='1'\n", "dir/other.env": "URL='x\ny'"}
	var reads []string
	read := func(volume, path string) (envfile.File, error) {
		reads = append(reads, volume+"/"+path)
		text, there := files[path]
		if !there {
			return envfile.File{}, fmt.Errorf("it is not there: %w", fs.ErrNotExist)
		}
		return envfile.Read(text), nil
	}
	pod := testPod().With(sharing(
		miniv1.EnvVar{Name: "HOST", Value: "h"}, fromFile("A", "app.env", "URL", nil), miniv1.EnvVar{Name: "B", Value: "$(A)/b"}, fromFile("C", "dir/other.env", "URL", nil),
		fromFile("D", "app.env", "odd name", nil), fromFile("E", "app.env", "none", &yes), fromFile("F", "none.env", "URL", &yes), fromFile("G", "app.env", "EMPTY", &yes))).Obj()
	env, values, err := environment(pod, &pod.Spec.Containers[0], Facts{Files: read}, volumes.Objects{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"HOST=h", "A=http://$(HOST)", "B=http://$(HOST)/b", "C=x\ny", "D=1"}, env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if values["A"] != "http://$(HOST)" || len(reads) != 6 {
		t.Errorf("values %v, read %v", values, reads)
	}
	// Before the container is made, files are nobody's business.
	env, _, err = environment(pod, &pod.Spec.Containers[0], Facts{}, volumes.Objects{})
	if diff := cmp.Diff([]string{"HOST=h", "B=$(A)/b"}, env); diff != "" || err != nil {
		t.Errorf("without files: %v\n%s", err, diff)
	}
}

// What is wrong with a file, or lacks in it, is said, and nothing that stands in it; optional concerns what is not there, and not what is wrong.
func TestEnvironmentOfWrongFiles(t *testing.T) {
	containerdenv.RequireRoot(t)
	dir := t.TempDir()
	manager, err := volumes.New(filepath.Join(dir, "state"), filepath.Join(dir, "root"), func(do func() error) error { return do() })
	if err != nil {
		t.Fatal(err)
	}
	pool := &Pool{Options: Options{Machine: testMachine, Volumes: manager}}
	pod := testPod().With(sharing()).Obj()
	t.Cleanup(func() {
		if err := volumes.Cleanup(filepath.Join(dir, "state"), filepath.Join(dir, "root")); err != nil {
			t.Error(err)
		}
	})
	if err := manager.Make(t.Context(), pod.UID, []volumes.Wanted{{Name: "shared"}}); err != nil {
		t.Fatal(err)
	}
	place, err := manager.Mount(pod.UID, volumes.Wanted{Name: "shared"}, "main", 0, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"good": "A='hunter2'\nNONE=''\n", "bad": "# x\nA=hunter2", "binary": "A='\x00hunter2'", "large": "A='1'\n" + strings.Repeat("#", mostEnvFile)} {
		if err := os.WriteFile(filepath.Join(place, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(place, "link")); err != nil {
		t.Fatal(err)
	}
	other := fromFile("V", "good", "A", &yes)
	other.ValueFrom.FileKeyRef.VolumeName = "settings"
	for _, c := range []struct {
		of   miniv1.EnvVar
		want string // empty: it is left out
	}{
		{fromFile("V", "good", "B", nil), `variable V: file "good" of volume "shared": it has no key "B", or no value of it`},
		{fromFile("V", "good", "NONE", nil), `it has no key "NONE", or no value of it`},
		{fromFile("V", "good", "B", &yes), ""},
		{fromFile("V", "none", "A", nil), `file "none" of volume "shared": it is not there`},
		{fromFile("V", "none", "A", &yes), ""},
		{fromFile("V", "bad", "A", nil), `file "bad" of volume "shared": line 2: the value must be in single quotes`},
		{fromFile("V", "bad", "A", &yes), `line 2: the value must be in single quotes`},
		{fromFile("V", "binary", "A", &yes), `the value is no text`},
		{fromFile("V", "large", "A", &yes), `large has more than 65536 bytes`},
		{fromFile("V", "link", "A", &yes), `it leads out of the volume`},
		{fromFile("V", ".", "A", &yes), `. is not a regular file`},
		{fromFile("V", "../shared/good", "A", &yes), `it must not have ".." in it`},
		{other, `file "good" of volume "settings": there is no emptyDir of that name`},
	} {
		pod.Spec.Containers[0].Env = []miniv1.EnvVar{c.of}
		o := seen()
		spec, _, err := pool.containerSpec(pod, &o, podplan.Action{Container: "main"})
		switch {
		case c.want == "" && (err != nil || len(spec.Env) > 0):
			t.Errorf("%+v: %v, %v", c.of.ValueFrom.FileKeyRef, spec.Env, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, runtime.ErrSettings) || strings.Contains(err.Error(), "hunter2")):
			t.Errorf("%+v: %v, want %q", c.of.ValueFrom.FileKeyRef, err, c.want)
		}
	}
}

// A container is made with what its init container wrote, waits while it is wrong and says so, and has what is there by then when it is started again.
func TestVariablesOfFiles(t *testing.T) {
	b := newBench(t)
	b.runtime.SetProgram(func(spec runtime.ContainerSpec) fake.Behaviour { return fake.Behaviour{} })
	b.create("a", sharing(fromFile("URL", "app.env", "URL", nil)), func(p *miniv1.MiniPod) {
		p.Spec.Volumes = p.Spec.Volumes[:1]
		p.Spec.InitContainers = []miniv1.Container{{Name: "writes", Image: "echo:test"}}
	})
	b.until("the init container runs", func() bool { return len(b.running()) == 1 })
	b.volumes.Put("shared", "app.env", "URL=wrong")
	b.exit(0)
	b.shows("a", miniv1.ReasonCreateContainerConfig)
	if pod := b.get("a"); !strings.Contains(waitingFor(pod), `variable URL: file "app.env" of volume "shared": line 1: the value must be in single quotes`) {
		t.Errorf("it waits for %q", waitingFor(pod))
	}
	b.volumes.Put("shared", "app.env", "URL='first'")
	b.until("it is tried again", func() bool { b.clock.Step(time.Second); return len(b.running()) == 1 })
	b.shows("a", "Running")
	has := func(want string) func() bool {
		return func() bool {
			b.clock.Step(time.Second)
			ids := b.running()
			if len(ids) != 1 {
				return false
			}
			spec, _ := b.runtime.Spec(ids[0])
			return slices.Contains(spec.Env, want)
		}
	}
	b.until("it has the variable", has("URL=first"))
	b.volumes.Put("shared", "app.env", "URL='second'")
	b.restart()
	b.exit(1)
	b.until("it has what is there now", has("URL=second"))
}
