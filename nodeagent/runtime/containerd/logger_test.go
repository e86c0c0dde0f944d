package containerd_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/stdio"
	"miniplane.dev/miniplane/test/slow"
)

// owners are the PIDs of the programs that write a log.
func owners(logPath string) []int {
	var out []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		if bytes.HasSuffix(text, []byte("\x00"+logPath+"\x00")) {
			pid, _ := strconv.Atoi(strings.Split(file, "/")[2])
			out = append(out, pid)
		}
	}
	return out
}

// TestLoggerIsKilled: the container goes on, and so does its log.
func TestLoggerIsKilled(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	spec := n.start(t, r, "spoken", "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.05; done", func(*runtime.ContainerSpec) {})
	lines := func() int {
		text, _ := os.ReadFile(spec.LogPath)
		return bytes.Count(text, []byte("\n"))
	}
	until(t, "lines", func() bool { return lines() > 2 })
	for range 3 {
		pids := owners(spec.LogPath)
		if len(pids) != 1 {
			t.Fatalf("owners %v", pids)
		}
		must(t, syscall.Kill(pids[0], syscall.SIGKILL))
		before := lines()
		until(t, "more lines", func() bool { return lines() > before+5 })
	}
	list, err := r.List(t.Context())
	must(t, err)
	if list[0].State != runtime.StateRunning {
		t.Errorf("container %+v", list[0])
	}
	text, err := os.ReadFile(spec.LogPath)
	must(t, err)
	for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		if !strings.HasSuffix(line, " stdout F line "+strconv.Itoa(i+1)) {
			t.Fatalf("line %d is %q", i+1, line)
		}
	}
	must(t, r.Remove(t.Context(), spec.ID))
	until(t, "the owner's end", func() bool { return len(owners(spec.LogPath)) == 0 })
}

// TestLogsAreBounded: with both shims, and what was put aside goes with the log.
func TestLogsAreBounded(t *testing.T) {
	for name, node := range shims {
		t.Run(name, func(t *testing.T) {
			n := node(t)
			n.opts.Logs = stdio.Limits{MaxSize: 64 << 10, MaxFiles: 3}
			r := n.runtime(t)
			dir := t.TempDir()
			spec := n.start(t, r, "loud", "yes a line of the container | head -n 20000; echo the end; exec sleep 1000", func(s *runtime.ContainerSpec) {
				s.LogPath = filepath.Join(dir, "0.log")
			})
			until(t, "the end", func() bool {
				text, _ := os.ReadFile(spec.LogPath)
				return bytes.Contains(text, []byte("the end"))
			})
			files, err := stdio.Files(spec.LogPath)
			must(t, err)
			if len(files) != 3 {
				t.Errorf("files %q", files)
			}
			must(t, r.Remove(t.Context(), spec.ID))
			must(t, stdio.Remove(spec.LogPath))
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(slow.By(30 * time.Second))
	for !is() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}
