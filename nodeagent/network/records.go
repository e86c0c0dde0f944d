package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// records remembers which MiniPod has which address: one file per MiniPod, named by its UID, holding the address. It need
// not survive a reboot of the node, for the links do not either, and is never half-written, for it is renamed into place.
type records struct{ dir string }

func recordsIn(stateDir string) records { return records{filepath.Join(stateDir, "network")} }

const temporary = ".tmp"

func (r records) path(podUID string) (string, error) {
	if podUID == "" || podUID != filepath.Base(podUID) || strings.HasPrefix(podUID, ".") || strings.HasSuffix(podUID, temporary) {
		return "", fmt.Errorf("network: %q cannot be the UID of a MiniPod", podUID)
	}
	return filepath.Join(r.dir, podUID), nil
}

func (r records) write(podUID string, addr netip.Addr) error {
	path, err := r.path(podUID)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return fmt.Errorf("network: state directory: %w", err)
	}
	if err := os.WriteFile(path+temporary, []byte(addr.String()+"\n"), 0o600); err != nil {
		return fmt.Errorf("network: recording an address: %w", err)
	}
	if err := os.Rename(path+temporary, path); err != nil {
		return fmt.Errorf("network: recording an address: %w", err)
	}
	return nil
}

func (r records) remove(podUID string) error {
	path, err := r.path(podUID)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("network: removing the record of an address: %w", err)
	}
	return nil
}

// read returns all records, and removes what a crash left unfinished.
func (r records) read() (map[string]netip.Addr, error) {
	files, err := os.ReadDir(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]netip.Addr{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("network: state directory: %w", err)
	}
	out := make(map[string]netip.Addr, len(files))
	for _, file := range files {
		path := filepath.Join(r.dir, file.Name())
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("network: reading a record: %w", err)
		}
		addr, err := netip.ParseAddr(strings.TrimSpace(string(text)))
		if err != nil || !addr.Is4() || strings.HasSuffix(file.Name(), temporary) {
			if err := os.Remove(path); err != nil {
				return nil, fmt.Errorf("network: removing an unreadable record: %w", err)
			}
			continue
		}
		out[file.Name()] = addr
	}
	return out, nil
}
