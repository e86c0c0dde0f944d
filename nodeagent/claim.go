package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
)

const (
	// claimFile is below the state directory. Its lock is the kernel's: it ends with the agent, however that ends.
	claimFile = "agent.lock"
	// claimPatience is how long another agent is waited for: longer than one takes to end in order. After it people are to see that there
	// are two.
	claimPatience = time.Minute
)

// Claim is what makes this process the only agent of the machine, or of the part of it that has this state directory.
type Claim struct {
	dir  string
	file *os.File
}

// ClaimMachine claims it, until the process ends or gives it back. Two agents at once would each take the other's containers for leftovers: it
// waits a minute for one that is there, as when an agent's Pod was deleted by force, and then, or when ctx ends, fails.
func ClaimMachine(ctx context.Context, stateDir string, log logr.Logger) (*Claim, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, claimPatience, errOtherAgent)
	defer cancel()
	path := filepath.Join(stateDir, claimFile)
	told := false
	for {
		if err := os.MkdirAll(stateDir, 0o700); err != nil {
			return nil, fmt.Errorf("state directory: %w", err)
		}
		file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("claiming the machine: %w", err)
		}
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
			if !told {
				told = true
				log.Info("Another agent works on this machine; waiting for its end", "lock", path)
			}
			if err := wait(ctx, file); err != nil {
				return nil, err
			}
		} else if err != nil {
			_ = file.Close()
			return nil, fmt.Errorf("claiming the machine: %s: %w", path, err)
		}
		if is(file, path) {
			return &Claim{dir: stateDir, file: file}, nil
		}
		_ = file.Close() // the other one cleaned up, and this is no longer the file that a third would find
	}
}

var errOtherAgent = errors.New("it does not end. Stop it, or wait for it; where miniplane is installed twice, uninstall one of the two")

// wait returns with the lock. When ctx ends first, the file stays open, and is let go with the process, which is about to end.
func wait(ctx context.Context, file *os.File) error {
	locked := make(chan error, 1)
	go func() { locked <- unix.Flock(int(file.Fd()), unix.LOCK_EX) }()
	select {
	case <-ctx.Done():
		return fmt.Errorf("another agent works on this machine: %w", context.Cause(ctx))
	case err := <-locked:
		return err
	}
}

func is(file *os.File, path string) bool {
	mine, err := file.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(path)
	return err == nil && os.SameFile(mine, now)
}

// GiveBack lets others work on the machine. After a clean-up there is nothing in the state directory but the claim, and that goes as well.
func (c *Claim) GiveBack() {
	if entries, err := os.ReadDir(c.dir); err == nil && len(entries) == 1 && entries[0].Name() == claimFile {
		_ = os.Remove(filepath.Join(c.dir, claimFile))
		_ = os.Remove(c.dir) // if it is not a mount
	}
	_ = c.file.Close()
}
