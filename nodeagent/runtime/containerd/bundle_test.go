package containerd

import (
	"os"
	"path/filepath"
	"testing"
)

// What is there is removed only if it is what was seen.
func TestRemoveBundle(t *testing.T) {
	bundle := filepath.Join(t.TempDir(), "some")
	made := func() stamp {
		if err := os.MkdirAll(filepath.Join(bundle, "rootfs"), 0o700); err != nil {
			t.Fatal(err)
		}
		seen, err := stampOf(bundle)
		if err != nil {
			t.Fatal(err)
		}
		return seen
	}
	removes := func(seen stamp) {
		t.Helper()
		if err := removeBundle(bundle, seen); err != nil {
			t.Fatal(err)
		}
	}
	first := made()
	if err := os.Rename(bundle, bundle+".old"); err != nil {
		t.Fatal(err)
	}
	removes(first) // somebody else did
	second := made()
	removes(first)
	if _, err := os.Stat(filepath.Join(bundle, "rootfs")); err != nil {
		t.Errorf("another's bundle: %v", err)
	}
	removes(second)
	if _, err := os.Lstat(bundle); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}
