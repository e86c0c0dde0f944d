package containerd

import (
	"os"
	"path/filepath"
	"testing"
)

// A shim is written once, and again when what is there is not whole; another version stands beside it.
func TestInstallShim(t *testing.T) {
	root := t.TempDir()
	pause, server := filepath.Join(root, "pause"), filepath.Join(root, "shim")
	write := func(path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	install := func() string {
		t.Helper()
		dir, err := InstallShim(pause, server, root, "/run/mini")
		if err != nil {
			t.Fatal(err)
		}
		for file, from := range map[string]string{shimName: pause, "server": server} {
			want, _ := os.ReadFile(from)
			if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(got) != string(want) {
				t.Errorf("%s is %q, %v; want %q", file, got, err, want)
			}
			if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Mode().Perm() != 0o755 {
				t.Errorf("%s: mode %v, %v", file, info.Mode(), err)
			}
		}
		return dir
	}
	write(pause, "small")
	write(server, "large")
	one := install()
	before, err := os.Stat(filepath.Join(one, "server"))
	if err != nil {
		t.Fatal(err)
	}
	install()
	if after, err := os.Stat(filepath.Join(one, "server")); err != nil || !os.SameFile(before, after) {
		t.Errorf("written again: %v", err)
	}
	write(filepath.Join(one, "server"), "lar")
	if again := install(); again != one {
		t.Errorf("the same shim is at %s and %s", one, again)
	}
	write(server, "other")
	if install() == one {
		t.Error("two versions have one place")
	}
	if _, err := InstallShim(pause, filepath.Join(root, "none"), root, "/run/mini"); err == nil {
		t.Error("no error where there is no program")
	}
}
