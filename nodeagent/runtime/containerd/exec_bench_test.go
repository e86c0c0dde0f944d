package containerd_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

// BenchmarkExec: a command that does nothing, as a probe runs it, and the CPU time of all that takes part: this process, containerd, the
// shims, and what those ran and collected.
func BenchmarkExec(b *testing.B) {
	for name, node := range shims {
		b.Run(name, func(b *testing.B) {
			n := node(b)
			r := n.runtime(b)
			n.start(b, r, "execs", "while :; do sleep 1000; done")
			do := func() {
				end, err := r.Exec(context.Background(), "execs", runtime.Command{Args: []string{"/bin/busybox", "true"}, Timeout: time.Minute, MaxOutput: 10})
				if err != nil || end.ExitCode != 0 {
					b.Fatal(end, err)
				}
			}
			do()
			before := n.spent()
			for b.Loop() {
				do()
			}
			b.ReportMetric(float64((n.spent()-before).Microseconds())/float64(b.N)/1000, "cpu-ms/op")
		})
	}
}

// spent is the CPU time of this process, and of containerd and its shims with their children.
func (n *node) spent() time.Duration {
	var usage unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &usage)
	sum := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		cmdline, _ := os.ReadFile(file)
		if !bytes.Contains(cmdline, []byte(n.Dir)) || !bytes.Contains(cmdline, []byte("containerd")) {
			continue
		}
		stat, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "stat"))
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		for _, field := range fields[11:15] { // utime, stime, cutime, cstime, in hundredths of a second
			ticks, _ := strconv.Atoi(field)
			sum += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return sum
}
