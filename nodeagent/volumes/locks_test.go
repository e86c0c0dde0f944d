package volumes

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// What an agent that died left half written does not take the room of what the next one writes: files as large as can be change all the same.
func TestLargestFilesCutShort(t *testing.T) {
	m := testManager(t)
	of := func(first byte) []Wanted {
		data := make([]byte, mostBytes)
		data[0] = first
		return []Wanted{{Name: "files", Files: Files{"a": {Data: data, Mode: 0o644}}}}
	}
	must(t, m.Make(t.Context(), uid, of(1)))
	errCut := errors.New("cut")
	m.after = func(step string) error {
		if step == "files" {
			return errCut
		}
		return nil
	}
	if err := m.Make(t.Context(), uid, of(2)); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	m.after = quietly
	must(t, m.Make(t.Context(), uid, of(3)))
	if data, err := os.ReadFile(filepath.Join(m.filesDir(uid), "files", "a")); err != nil || data[0] != 3 {
		t.Errorf("%v, %v", data[:1], err)
	}
}

// However long one MiniPod's volumes take to be removed, no other waits for it.
func TestRemoveKeepsNobodyWaiting(t *testing.T) {
	m := testManager(t)
	must(t, m.Make(t.Context(), uid, []Wanted{{Name: "disk"}}))
	reached, finish := make(chan struct{}), make(chan struct{})
	m.after = func(step string) error {
		if step == "unmounted" {
			close(reached)
			<-finish
			m.after = quietly
		}
		return nil
	}
	removed := make(chan error)
	go func() { removed <- m.Remove(uid) }()
	<-reached
	others := make(chan error)
	go func() {
		var errs []error
		for i := range 2000 { // as many as there were locks, and more
			errs = append(errs, m.Make(t.Context(), types.UID(fmt.Sprint("other-", i)), nil))
		}
		others <- errors.Join(errs...)
	}()
	select {
	case err := <-others:
		must(t, err)
	case <-time.After(20 * time.Second):
		t.Error("somebody waits for the removal of another one's volumes")
	}
	close(finish)
	must(t, <-removed)
}

// What is no MiniPod's is left alone, as what a disk of its own has at its top.
func TestListOfADisk(t *testing.T) {
	m := testManager(t)
	strange := filepath.Join(m.disk, "lost+found")
	must(t, os.MkdirAll(strange, 0o700))
	must(t, m.Make(t.Context(), uid, all()))
	if uids, err := m.List(); len(uids) != 1 || err != nil {
		t.Errorf("%v, %v", uids, err)
	}
	must(t, os.Remove(strange))
}
