package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
)

// claimFile is below the state directory. Its lock is the kernel's: it ends with the agent, however that ends.
const claimFile = "agent.lock"

// Claim makes this process the only agent of the machine, or of the part of it that has this state directory, until it ends or gives
// the claim back. Two at once would each take the other's containers for leftovers: it waits, until ctx ends, for an agent that is there,
// as when an agent's Pod was deleted by force, or miniplane was installed twice.
func Claim(ctx context.Context, stateDir string, log logr.Logger) (giveBack func(), err error) {
	path := filepath.Join(stateDir, claimFile)
	told := false
	for {
		if err := os.MkdirAll(stateDir, 0o700); err != nil {
			return nil, fmt.Errorf("state directory: %w", err)
		}
		lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("claiming the machine: %w", err)
		}
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
			if !told {
				told = true
				log.Info("Another agent works on this machine; waiting for its end", "lock", path)
			}
			if err := wait(ctx, lock); err != nil {
				return nil, err
			}
		} else if err != nil {
			_ = lock.Close()
			return nil, fmt.Errorf("claiming the machine: %s: %w", path, err)
		}
		if is(lock, path) {
			return func() { _ = lock.Close() }, nil
		}
		_ = lock.Close() // the other one cleaned up, and this is no longer the file that a third would find
	}
}

// wait returns with the lock. When ctx ends first, the file stays open, and is let go with the process, which is about to end.
func wait(ctx context.Context, lock *os.File) error {
	locked := make(chan error, 1)
	go func() { locked <- unix.Flock(int(lock.Fd()), unix.LOCK_EX) }()
	select {
	case <-ctx.Done():
		return fmt.Errorf("another agent works on this machine: %w", ctx.Err())
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
