package nodeagent

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
)

// Who waits has the claim when the other one has cleaned up and ended, and by a file that a third one finds, too.
func TestClaim(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first, err := ClaimMachine(t.Context(), dir, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	waits := make(chan string, 1)
	log := funcr.New(func(_, args string) { waits <- args }, funcr.Options{})
	claimed := make(chan *Claim)
	go func() {
		second, err := ClaimMachine(t.Context(), dir, log)
		if err != nil {
			t.Error(err)
		}
		claimed <- second
	}()
	if said := <-waits; !strings.Contains(said, "Another agent works on this machine") || !strings.Contains(said, dir) {
		t.Errorf("said %s", said)
	}
	if err := os.WriteFile(filepath.Join(dir, "record"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cleanupDirectories(Options{StateDir: dir, RootDir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 || left[0].Name() != claimFile {
		t.Errorf("a clean-up leaves the claim to the end, and nothing else: %v", left)
	}
	first.GiveBack()
	second := <-claimed
	ctx, cancel := context.WithCancelCause(t.Context())
	refused := make(chan error)
	go func() {
		_, err := ClaimMachine(ctx, dir, log)
		refused <- err
	}()
	<-waits
	cancel(errOtherAgent) // as after a minute
	if err := <-refused; err == nil || !strings.Contains(err.Error(), "another agent works on this machine: it does not end. Stop it") {
		t.Errorf("given up: %v", err)
	}
	second.GiveBack()
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing else was there, yet the claim is left: %v", err)
	}
}
