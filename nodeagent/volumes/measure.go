package volumes

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"miniplane.dev/miniplane/nodeagent/foreign"
)

const (
	// entriesInARow are looked at before a rest, which is restTimes as long as that took: a tenant's millions of files are looked at, and the disk and the processor
	// stay the containers'.
	entriesInARow, restTimes = 1024, 3
	// namesAtATime bounds how many names of each directory that is open are in memory.
	namesAtATime = 32
	// deepestMeasured is how many directories are open at a time. What is deeper has no path that a program could open at once, and counts as more than any limit.
	deepestMeasured = 1024
	// tooMuch is more than any limit, in bytes.
	tooMuch = int64(1) << 62
)

// Usage implements Manager.
func (m *manager) Usage(ctx context.Context, uid types.UID, names []string) (map[string]int64, error) {
	if err := check(uid, names...); err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for _, name := range names {
		dir, err := os.OpenFile(filepath.Join(m.disk, string(uid), name), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		w := walk{ctx: ctx, since: time.Now()}
		err = w.add(dir, 0)
		_ = dir.Close()
		if err != nil {
			return nil, err
		}
		out[name] = w.bytes
	}
	return out, nil
}

// walk adds up what a tree takes of its disk, as du does: blocks, not lengths. What has several names counts once, in parts, so that nothing has to be remembered of it.
// Containers change the tree meanwhile; no link is followed and no mount entered.
type walk struct {
	ctx     context.Context
	bytes   int64
	entries int
	since   time.Time
}

func (w *walk) add(dir *os.File, depth int) error {
	for {
		names, err := dir.Readdirnames(namesAtATime)
		for _, name := range names {
			if err := w.entry(dir, name, depth); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, unix.ENOENT): // it was removed meanwhile
			return nil
		case err != nil:
			return err
		}
	}
}

func (w *walk) entry(dir *os.File, name string, depth int) error {
	if err := w.rest(); err != nil {
		return err
	}
	var stat unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil // it was removed meanwhile
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		w.bytes += stat.Blocks * 512 / int64(max(1, stat.Nlink))
		return nil
	}
	if depth >= deepestMeasured {
		w.bytes = tooMuch
		return nil
	}
	below, err := foreign.OpenAt(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, unix.RESOLVE_NO_XDEV)
	if err != nil {
		return nil // it was removed or replaced meanwhile, or something is mounted there, which takes nothing of this disk
	}
	defer func() { _ = below.Close() }()
	w.bytes = min(w.bytes+stat.Blocks*512, tooMuch)
	return w.add(below, depth+1)
}

// rest leaves the machine to others now and then.
func (w *walk) rest() error {
	w.entries++
	if w.entries%entriesInARow != 0 {
		return nil
	}
	timer := time.NewTimer(restTimes * time.Since(w.since))
	defer timer.Stop()
	select {
	case <-w.ctx.Done():
		return w.ctx.Err()
	case <-timer.C:
	}
	w.since = time.Now()
	return nil
}
