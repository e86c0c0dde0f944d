package volumes

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Where the disk is full, and no directory can get another entry, what is there is removed all the same.
func TestRemoveFromAFullDisk(t *testing.T) {
	m := testManager(t)
	image := filepath.Join(t.TempDir(), "disk")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 16<<20))
	if out, err := exec.Command("mkfs.ext4", "-q", "-b", "1024", "-m", "0", image).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: no ext4 can be made here: %v %s", err, out)
	}
	must(t, os.MkdirAll(m.disk, 0o700))
	if out, err := exec.Command("mount", "-o", "loop", image, m.disk).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: no disk can be mounted here: %v %s", err, out)
	}
	defer func() { must(t, unix.Unmount(m.disk, 0)) }()
	must(t, m.Make(t.Context(), uid, []Wanted{{Name: "disk"}}))
	place := m.place(uid, Wanted{Name: "disk"})
	for i := range 1000 {
		must(t, os.MkdirAll(filepath.Join(place, fmt.Sprintf("directory-%d/more", i)), 0o777))
	}
	big, err := os.Create(filepath.Join(place, "directory-0", "more", "big"))
	must(t, err)
	for block := make([]byte, 1024); err == nil; {
		_, err = big.Write(block)
	}
	_ = big.Close()
	must(t, m.Remove(uid))
	if _, err := os.Lstat(place); err == nil {
		t.Error("it is left")
	}
}
