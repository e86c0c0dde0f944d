package nodeagent

import (
	"os"
	"path/filepath"
	"testing"
)

func TestInstallPause(t *testing.T) {
	root, from := t.TempDir(), filepath.Join(t.TempDir(), "pause")
	install := func(content string) string {
		t.Helper()
		if err := os.WriteFile(from, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
		path, err := installPause(from, root)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Errorf("installed %q, %v; want %q", got, err, content)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		return path
	}
	one := install("one")
	if again := install("one"); again != one {
		t.Errorf("installed twice: %s and %s", one, again)
	}
	if two := install("two"); two == one {
		t.Error("two versions have one name")
	}
	if _, err := os.Stat(one); err != nil {
		t.Errorf("the older version, which containers may still need, is gone: %v", err)
	}
	// What a crash or a full disk left half is made whole.
	if err := os.WriteFile(one, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	install("one")
	if _, err := installPause(filepath.Join(root, "none"), root); err == nil {
		t.Error("no error where there is no program")
	}
}
