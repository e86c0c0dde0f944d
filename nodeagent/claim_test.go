package nodeagent

import (
	"context"
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
	first, err := Claim(t.Context(), dir, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	waits := make(chan string, 1)
	log := funcr.New(func(_, args string) { waits <- args }, funcr.Options{})
	claimed := make(chan func())
	go func() {
		second, err := Claim(t.Context(), dir, log)
		if err != nil {
			t.Error(err)
		}
		claimed <- second
	}()
	if said := <-waits; !strings.Contains(said, "Another agent works on this machine") || !strings.Contains(said, dir) {
		t.Errorf("said %s", said)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	first()
	second := <-claimed
	ctx, cancel := context.WithCancel(t.Context())
	refused := make(chan error)
	go func() {
		_, err := Claim(ctx, dir, log)
		refused <- err
	}()
	<-waits
	cancel()
	if err := <-refused; err == nil || !strings.Contains(err.Error(), "another agent works on this machine") {
		t.Errorf("asked to end while it waits: %v", err)
	}
	second()
}
