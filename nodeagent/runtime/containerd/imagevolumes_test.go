package containerd_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/test/containerdenv"
)

// TestImageVolumes: volumes of an image are made whole or not at all, also on a disk that is too small for them; a try that was cut short does not
// matter; and one that cannot be had matters only where it is wanted.
func TestImageVolumes(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	n.ImportImage(t, "docker.io/library/volumes:test", containerdenv.Busybox(t, v1.Config{Volumes: map[string]struct{}{"/seeded": {}, "/etc/passwd": {}}},
		containerdenv.File{Path: "seeded/", Mode: 0o755}, containerdenv.File{Path: "seeded/large", Mode: 0o644, Data: bytes.Repeat([]byte("x"), 1<<20)}))
	disk := filepath.Join(n.Dir, "disk")
	must(t, os.Mkdir(disk, 0o700))
	must(t, unix.Mount("small", disk, "tmpfs", 0, "size=256k"))
	defer func() { must(t, unix.Unmount(disk, unix.MNT_DETACH)) }()
	spec := runtime.ContainerSpec{ID: "volumes", Group: "volumes", Image: "volumes:test", Command: shell("cat /seeded/large | wc -c; sleep 1000"),
		CgroupPath: filepath.Join(n.parent, "volumes"), VolumesDir: filepath.Join(disk, "volumes")}
	if err := r.Create(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "volume /etc/passwd of the image: ") {
		t.Errorf("a file as a volume: %v", err)
	}
	spec.Mounts = []runtime.Mount{{HostPath: "/etc/passwd", ContainerPath: "/etc/passwd", ReadOnly: true}}
	if err := r.Create(t.Context(), spec); err == nil || !strings.Contains(err.Error(), unix.ENOSPC.Error()) {
		t.Errorf("a full disk: %v", err)
	}
	if left, err := os.ReadDir(disk); err != nil || len(left) > 0 {
		t.Errorf("left on the disk: %v, %v", left, err)
	}
	must(t, unix.Mount("small", disk, "tmpfs", unix.MS_REMOUNT, "size=8m"))
	copied := 0
	spec.CopyTurn = func(context.Context, func()) {}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := r.Create(ended, spec); err == nil {
		t.Error("made, though its turn to copy never came")
	}
	if left, err := os.ReadDir(disk); err != nil || len(left) > 0 {
		t.Errorf("left of one whose turn never came: %v, %v", left, err)
	}
	spec.CopyTurn = func(_ context.Context, do func()) { copied++; do() }
	must(t, r.Create(t.Context(), spec))
	if copied != 1 {
		t.Errorf("it took %d turns to copy", copied)
	}
	made, err := filepath.Glob(filepath.Join(spec.VolumesDir, "*", "*", "large"))
	if err != nil || len(made) != 1 {
		t.Fatalf("made: %v, %v", made, err)
	}
	// As if the agent had died before it wrote the record down, and once more half way.
	must(t, r.Remove(t.Context(), spec.ID))
	whole := filepath.Dir(filepath.Dir(made[0]))
	must(t, os.MkdirAll(filepath.Join(whole+".new", "0"), 0o700))
	must(t, os.RemoveAll(whole))
	must(t, r.Create(t.Context(), spec))
	must(t, r.Start(t.Context(), spec.ID))
	must(t, r.Remove(t.Context(), spec.ID))
	if entries, err := os.ReadDir(spec.VolumesDir); err != nil || len(entries) != 1 {
		t.Errorf("volumes: %v, %v", entries, err)
	}
}
