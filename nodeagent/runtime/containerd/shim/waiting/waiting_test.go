package waiting

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLook(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, []byte("#!"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		what   string
		pid    int
		server string
		want   Answer
	}{
		{"a copy of the server", os.Getpid(), self, Waits},
		{"another program", os.Getpid(), other, Executes},
		{"the server's program is gone", os.Getpid(), other + "-not", Unknown},
		{"there is no such process", 1<<22 + 1, self, Unknown},
		{"a thread of the kernel, which has no program", 2, self, Unknown},
	} {
		if got := Look(test.pid, test.server); got != test.want {
			t.Errorf("%s: %d, want %d", test.what, got, test.want)
		}
	}
}
