package nodeagent

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
)

// installPause copies the pause program to where the machine sees it, for an agent whose own files only its container sees,
// and returns the path. Its name holds a sum of its content, so that the programs of two versions stand side by side: what
// runs, and the logs of containers that run, still need the older one.
func installPause(from, rootDir string) (string, error) {
	content, err := os.ReadFile(from)
	if err != nil {
		return "", fmt.Errorf("pause program: %w", err)
	}
	dir := filepath.Join(rootDir, "bin")
	sum := sha256.Sum256(content)
	path := filepath.Join(dir, fmt.Sprintf("pause-%x", sum[:6]))
	if there, err := os.ReadFile(path); err == nil && bytes.Equal(there, content) {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("pause program: %w", err)
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, content, 0o755); err != nil {
		return "", fmt.Errorf("pause program: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return "", fmt.Errorf("pause program: %w", err)
	}
	return path, nil
}
