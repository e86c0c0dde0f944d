package stdio_test

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"miniplane.dev/miniplane/nodeagent/stdio"
)

func TestFilesAndRemove(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "1.log")
	kept := []string{"0.log", "1.log.notes", "11.log", "11.log.20260102-030405"}
	for _, name := range append([]string{"1.log", "1.log.20260102-030406", "1.log.20260102-030405"}, kept...) {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	want := []string{log + ".20260102-030405", log + ".20260102-030406", log}
	if diff := cmp.Diff(want, files(t, log)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	must(t, stdio.Remove(log))
	must(t, stdio.Remove(log))
	must(t, stdio.Remove(filepath.Join(dir, "none", "1.log")))
	entries, err := os.ReadDir(dir)
	must(t, err)
	var left []string
	for _, entry := range entries {
		left = append(left, entry.Name())
	}
	if diff := cmp.Diff(kept, left); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

func TestURI(t *testing.T) {
	uri, err := url.Parse(stdio.URI("/bin/pause", "/run/log", "/var/log/a b/0.log", stdio.DefaultLimits))
	must(t, err)
	if got, want := uri.Query().Get("log"), "/run/log:10485760:5:/var/log/a b/0.log"; uri.Path != "/bin/pause" || got != want {
		t.Errorf("%s %q, want %q", uri.Path, got, want)
	}
}

func TestLimits(t *testing.T) {
	must(t, stdio.DefaultLimits.Validate())
	err := stdio.Limits{MaxSize: 1, MaxFiles: 1}.Validate()
	for _, want := range []string{"--container-log-max-size", "--container-log-max-files"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v says nothing of %s", err, want)
		}
	}
}

func TestNoRoom(t *testing.T) {
	for err, want := range map[error]bool{syscall.ENOSPC: true, syscall.EDQUOT: true, syscall.EACCES: false} {
		if got := stdio.NoRoom(&fs.PathError{Err: err}); got != want {
			t.Errorf("%v: %t", err, got)
		}
	}
	if stdio.NoRoom(errors.New("other")) || stdio.NoRoom(nil) {
		t.Error("anything is no room")
	}
}

func TestCounter(t *testing.T) {
	dir := t.TempDir()
	counter := stdio.NewCounter(filepath.Join(dir, "*"))
	write := func(name, text string) { must(t, os.WriteFile(filepath.Join(dir, name+".stat"), []byte(text), 0o600)) }
	write("a", "00000000000000000003 00000000000000000100\n")
	write("b", "00000000000000000001 00000000000000000000\n")
	write("torn", "000000000000")
	write("large", strings.Repeat("1", 1000))
	counter.Gone(stdio.Counts{Rotations: 10, LostBytes: 1})
	registry := prometheus.NewRegistry()
	must(t, registry.Register(counter))
	families, err := registry.Gather()
	must(t, err)
	got := map[string]float64{}
	for _, family := range families {
		got[family.GetName()] = family.GetMetric()[0].GetCounter().GetValue()
	}
	if diff := cmp.Diff(map[string]float64{"miniplane_log_lost_bytes_total": 101, "miniplane_log_rotations_total": 14}, got); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}
