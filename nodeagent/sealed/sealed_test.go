package sealed_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/sealed"
)

// TestNobodyChangesIt: it has what it was given, and that neither who made it nor who opens it anew can change.
func TestNobodyChangesIt(t *testing.T) {
	for name, seal := range map[string]func(string, []byte) (*os.File, error){"file": sealed.File, "program": sealed.Program} {
		t.Run(name, func(t *testing.T) {
			file, err := seal("content", []byte("as it was"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			path := fmt.Sprintf("/proc/self/fd/%d", file.Fd())
			if again, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
				if _, err := again.WriteAt([]byte("x"), 0); err == nil {
					t.Error("who opens it can write to it")
				}
				again.Close()
			}
			if _, err := file.WriteAt([]byte("x"), 0); err == nil {
				t.Error("it can be written to")
			}
			for _, size := range []int64{0, 100} {
				if err := file.Truncate(size); err == nil {
					t.Errorf("it can be made %d bytes long", size)
				}
			}
			if seals, err := unix.FcntlInt(file.Fd(), unix.F_GET_SEALS, 0); err != nil || seals&sealed.Seals != sealed.Seals {
				t.Errorf("it has the seals %#x, %v", seals, err)
			}
			content, err := io.ReadAll(io.NewSectionReader(file, 0, 100))
			if err != nil || string(content) != "as it was" {
				t.Errorf("it has %q, %v", content, err)
			}
		})
	}
}

// TestProgramRuns: a program is executed by its path, without the file that it was read from.
func TestProgramRuns(t *testing.T) {
	path, err := exec.LookPath("true")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := sealed.Program("true", content)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if out, err := exec.Command(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), file.Fd())).CombinedOutput(); err != nil {
		t.Errorf("%s %v", out, err)
	}
}
