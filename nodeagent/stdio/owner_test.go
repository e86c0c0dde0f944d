package stdio_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"miniplane.dev/miniplane/nodeagent/stdio"
	"miniplane.dev/miniplane/test/containerdenv"
)

// owner is a `pause log` with real pipes.
type owner struct {
	stdout, stderr *os.File
	socket, log    string
	cmd            *exec.Cmd
}

// own starts one for a log and waits until it is ready.
func own(t *testing.T, log string, limits stdio.Limits) *owner {
	t.Helper()
	dir, err := os.MkdirTemp("", "mps") // short, for the socket
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	o := &owner{socket: filepath.Join(dir, "log"), log: log}
	pause := containerdenv.PauseBinary(t)
	outR, outW, err := os.Pipe()
	must(t, err)
	errR, errW, err := os.Pipe()
	must(t, err)
	readyR, readyW, err := os.Pipe()
	must(t, err)
	o.cmd = exec.Command(pause, "log", fmt.Sprintf("%s:%d:%d:%s", o.socket, limits.MaxSize, limits.MaxFiles, log))
	o.cmd.ExtraFiles = []*os.File{outR, errR, readyW}
	must(t, o.cmd.Start())
	for _, f := range []*os.File{outR, errR, readyW} {
		must(t, f.Close())
	}
	o.stdout, o.stderr = outW, errW
	t.Cleanup(func() { _ = outW.Close(); _ = errW.Close(); _ = o.cmd.Wait() })
	_, err = io.ReadFull(readyR, make([]byte, 1))
	must(t, err)
	must(t, readyR.Close())
	return o
}

// end closes the streams and waits for the owner's end.
func (o *owner) end(t *testing.T) {
	t.Helper()
	must(t, o.stdout.Close())
	must(t, o.stderr.Close())
	must(t, o.cmd.Wait())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var record = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) ([FP]) (.*)\n$`)

// contents puts a stream together again from the files of a log, and fails for every line in them that is no whole record.
func contents(t *testing.T, stream string, files ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, file := range files {
		f, err := os.Open(file)
		must(t, err)
		r := bufio.NewReaderSize(f, 1<<16)
		for {
			line, err := r.ReadString('\n')
			if err == io.EOF && line == "" {
				break
			}
			parts := record.FindStringSubmatch(line)
			if parts == nil {
				t.Fatalf("%s: not a whole record: %.100q", file, line)
			}
			if parts[1] != stream {
				continue
			}
			out.WriteString(parts[3])
			if parts[2] == "F" {
				out.WriteByte('\n')
			}
		}
		must(t, f.Close())
	}
	return out.Bytes()
}

func files(t *testing.T, log string) []string {
	t.Helper()
	out, err := stdio.Files(log)
	must(t, err)
	return out
}

// TestEverythingArrives: 100 MB on two streams at once, of lines short and long, come out as they went in.
func TestEverythingArrives(t *testing.T) {
	log := filepath.Join(t.TempDir(), "0.log")
	limits := stdio.Limits{MaxSize: 4 << 20, MaxFiles: 100}
	o := own(t, log, limits)
	var group sync.WaitGroup
	want := map[string][]byte{}
	var mu sync.Mutex
	for name, to := range map[string]io.Writer{"stdout": o.stdout, "stderr": o.stderr} {
		group.Go(func() {
			hash, w := sha256.New(), bufio.NewWriterSize(to, 60_001)
			both := io.MultiWriter(hash, w)
			for i, n := 0, 0; n < 50<<20; i++ {
				line := fmt.Sprintf("%s %d %s\n", name, i, strings.Repeat("x", i*7919%9000))
				if i%500 == 0 {
					line = strings.Repeat("long", 12_000) + "\n" // three records
				}
				_, err := io.WriteString(both, line)
				if err != nil {
					t.Error(err)
				}
				n += len(line)
			}
			if err := w.Flush(); err != nil {
				t.Error(err)
			}
			mu.Lock()
			want[name] = hash.Sum(nil)
			mu.Unlock()
		})
	}
	group.Wait()
	o.end(t)
	all := files(t, log)
	if len(all) < 24 {
		t.Errorf("%d files of 4 MB for 100 MB", len(all))
	}
	for _, file := range all {
		info, err := os.Stat(file)
		must(t, err)
		if info.Size() > limits.MaxSize*5/4 {
			t.Errorf("%s has %d bytes", file, info.Size())
		}
	}
	for name, sum := range want {
		if got := sha256.Sum256(contents(t, name, all...)); !bytes.Equal(got[:], sum) {
			t.Errorf("%s did not come out as it went in", name)
		}
	}
	if got := stdio.ReadCounts(o.socket); got != (stdio.Counts{Rotations: uint64(len(all) - 1)}) {
		t.Errorf("counts %+v with %d files", got, len(all))
	}
}

// TestRotationKeepsTheNewest: the number of files is bounded over all attempts, and what stays is what came last.
func TestRotationKeepsTheNewest(t *testing.T) {
	dir := t.TempDir()
	limits := stdio.Limits{MaxSize: 64 << 10, MaxFiles: 3}
	foreign := filepath.Join(dir, "0.log.notes")
	must(t, os.WriteFile(foreign, []byte("mine"), 0o600))
	for attempt := range 12 {
		log := filepath.Join(dir, fmt.Sprintf("%d.log", attempt))
		o := own(t, log, limits)
		out := bufio.NewWriter(o.stdout)
		for i := range 20_000 {
			_, err := fmt.Fprintf(out, "attempt %d line %d\n", attempt, i)
			must(t, err)
		}
		must(t, out.Flush())
		o.end(t)
		if attempt > 1 {
			must(t, stdio.Remove(filepath.Join(dir, fmt.Sprintf("%d.log", attempt-2)))) // as the agent does
		}
		got := contents(t, "stdout", files(t, log)...)
		if !bytes.HasSuffix(got, fmt.Appendf(nil, "attempt %d line 19999\n", attempt)) {
			t.Fatalf("attempt %d ends with %.60q", attempt, got[max(0, len(got)-60):])
		}
		first, _, _ := strings.Cut(string(got), "\n")
		if n := bytes.Count(got, []byte("\n")); first != fmt.Sprintf("attempt %d line %d", attempt, 20_000-n) {
			t.Fatalf("attempt %d: %d lines that begin with %q, so some are missing in between", attempt, n, first)
		}
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, regexp.MustCompile(`\d{8}-\d{6}`).ReplaceAllString(entry.Name(), "TIME"))
	}
	if diff := cmp.Diff([]string{"0.log.notes", "10.log", "11.log", "11.log.TIME", "11.log.TIME"}, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// TestOwnerGoesOn: one that was killed leaves whole records, and its successor appends.
func TestOwnerGoesOn(t *testing.T) {
	log := filepath.Join(t.TempDir(), "0.log")
	first := own(t, log, stdio.DefaultLimits)
	_, err := io.WriteString(first.stdout, "one\n")
	must(t, err)
	stdio.Flush(first.socket)
	must(t, first.cmd.Process.Signal(syscall.SIGTERM)) // it does not mind
	must(t, first.cmd.Process.Signal(syscall.SIGKILL))
	_ = first.cmd.Wait()
	second := own(t, log, stdio.DefaultLimits)
	_, err = io.WriteString(second.stdout, "two\nthe last has no end")
	must(t, err)
	second.end(t)
	if diff := cmp.Diff("one\ntwo\nthe last has no end\n", string(contents(t, "stdout", log))); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// TestFullDisk: a disk without room keeps nobody from starting and from writing; the log says what is missing, and has no half
// records.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a small disk")
	}
	disk := t.TempDir()
	must(t, syscall.Mount("none", disk, "tmpfs", 0, "size=256k,nr_inodes=100"))
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	log := filepath.Join(disk, "pod", "main", "0.log") // nobody could make its directory
	o := own(t, log, stdio.DefaultLimits)
	chunk := bytes.Repeat([]byte(strings.Repeat("y", 99)+"\n"), 1000)
	for range 50 { // 5 MB through a pipe of 64 KB: it is drained
		_, err := o.stdout.Write(chunk)
		must(t, err)
	}
	stdio.Flush(o.socket)
	must(t, os.Remove(ballast))
	before := stdio.ReadCounts(o.socket)
	if before.LostBytes == 0 {
		t.Error("nothing is counted as lost")
	}
	waitFor(t, "the log", func() bool {
		_, err := io.WriteString(o.stdout, "there is room\n")
		must(t, err)
		stdio.Flush(o.socket)
		text, _ := os.ReadFile(log)
		return bytes.Contains(text, []byte("there is room"))
	})
	for range 50 { // it fills again, in the middle of a record
		_, err := o.stdout.Write(chunk)
		must(t, err)
	}
	o.end(t)
	if got := string(contents(t, "stderr", log)); !strings.Contains(got, "bytes of output are missing here") {
		t.Errorf("the log does not say that something is missing: %q", got)
	}
	_ = contents(t, "stdout", log) // whole records only
	if after := stdio.ReadCounts(o.socket); after.LostBytes <= before.LostBytes {
		t.Errorf("lost %d bytes, then %d", before.LostBytes, after.LostBytes)
	}
}

func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !is() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}

// TestMemory: what an owner costs besides its pages of code, which all share.
func TestMemory(t *testing.T) {
	o := own(t, filepath.Join(t.TempDir(), "0.log"), stdio.DefaultLimits)
	_, err := io.WriteString(o.stdout, "a line\n")
	must(t, err)
	stdio.Flush(o.socket)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", o.cmd.Process.Pid))
	must(t, err)
	var anonymous int
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "Anonymous:") {
			_, err := fmt.Sscanf(line, "Anonymous: %d kB", &anonymous)
			must(t, err)
		}
	}
	if anonymous == 0 || anonymous > 64 {
		t.Errorf("%d kB of its own", anonymous)
	}
}
