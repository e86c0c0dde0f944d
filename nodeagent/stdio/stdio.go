// Package stdio knows the owner of a container's output: the program `pause log`, which runs beside each container, and the
// files that it leaves.
//
// Idea. A container's output goes through one small process that lives as long as the container's pipes do, whatever becomes of
// the agent, of containerd and of the shim. It alone writes the log, so it alone can put it aside without cutting a record. The
// agent says where and how much (URI), waits for the last words (Flush), removes (Remove) and counts (Counts).
//
// Names are a kubelet's: N.log for the attempt N, and N.log.20060102-150405 for what was put aside, so that who collects logs of
// native Pods can collect these. The owner holds to FILES files in a container's directory, all attempts together, besides the
// newest of the attempt before; see cmd/pause/file.c and docs/designs/stdio.md.
//
// What makes it hard: a disk may be full. Then output is dropped and counted and the container runs on, because it would
// otherwise wait in a full pipe until somebody finds room.
package stdio

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Limits bound the logs of one container.
type Limits struct {
	// MaxSize of one file in bytes.
	MaxSize int64
	// MaxFiles are how many files there are, the one being written included.
	MaxFiles int
}

// DefaultLimits are a kubelet's.
var DefaultLimits = Limits{MaxSize: 10 << 20, MaxFiles: 5}

// minSize holds a whole record, which is 16 KiB of a line and its head, several times.
const minSize = 64 << 10

// Validate tells what is wrong with the limits; nil when nothing is.
func (l Limits) Validate() error {
	var errs []error
	if l.MaxSize < minSize {
		errs = append(errs, fmt.Errorf("--container-log-max-size %d: must be at least 64Ki, which is a few of the longest records", l.MaxSize))
	}
	if l.MaxFiles < 2 {
		errs = append(errs, fmt.Errorf("--container-log-max-files %d: must be at least 2, the file that is written and one that is full", l.MaxFiles))
	}
	return errors.Join(errs...)
}

// URI makes a shim run the owner for a container ("binary" logging). The socket is where Flush finds it.
func URI(pauseBinary, socket, logPath string, l Limits) string {
	query := url.Values{"log": {fmt.Sprintf("%s:%d:%d:%s", socket, l.MaxSize, l.MaxFiles, logPath)}}
	return (&url.URL{Scheme: "binary", Path: pauseBinary, RawQuery: query.Encode()}).String()
}

// Flush waits until everything that a container wrote before it exited is in its log.
func Flush(socket string) {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return // the owner is gone, and with it everything is written that will ever be
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	_, _ = io.Copy(io.Discard, conn)
}

// Files lists a log's files that are there, the oldest first: those that were put aside, and the log itself.
func Files(logPath string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(logPath))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []string
	last := false
	for _, entry := range entries {
		switch name := entry.Name(); {
		case name == filepath.Base(logPath):
			last = true
		case asideOf(filepath.Base(logPath), name):
			out = append(out, filepath.Join(filepath.Dir(logPath), name))
		}
	}
	slices.Sort(out)
	if last {
		out = append(out, logPath)
	}
	return out, nil
}

// asideOf tells whether a name is that of a log that was put aside.
func asideOf(log, name string) bool {
	stamp, ok := strings.CutPrefix(name, log+".")
	if !ok {
		return false
	}
	_, err := time.Parse("20060102-150405", stamp)
	return err == nil
}

// Remove removes a log and what was put aside of it. Nil if there is none.
func Remove(logPath string) error {
	files, err := Files(logPath)
	for _, file := range files {
		err = errors.Join(err, ignoreMissing(os.Remove(file)))
	}
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// NoRoom tells whether a log's directory could not be made for reasons that keep nobody from running: the owner makes it when
// it can.
func NoRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EIO)
}
