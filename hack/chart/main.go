// Command chart derives the helm chart charts/miniplane from the kustomize trees config/default and config/uninstall, which stay
// the one source of truth.
//
//	go run ./hack/chart
//
// It writes a template for every object that kustomize renders, and values.yaml with the defaults that config/ has. The
// objects keep their names and their contents; knobs.go lists the places that values can change. What config/uninstall has,
// helm runs before it uninstalls. The rest of the chart
// (Chart.yaml, values.schema.json, the helpers and notes) says nothing that config/ says, and is written by hand.
//
// Where config/ has a shape that this program does not know, such as a third program in a Pod or an object whose image no
// value would reach, it fails and says so, rather than writing a chart with a hole.
package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const chartDir = "charts/miniplane"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func run() error {
	installed, err := kustomize("config/default")
	if err != nil {
		return err
	}
	hooks, err := kustomize("config/uninstall")
	if err != nil {
		return err
	}
	files, err := derive(installed, hooks)
	if err != nil {
		return err
	}
	if err := removeStale(chartDir, files); err != nil {
		return err
	}
	for name, content := range files {
		path := filepath.Join(chartDir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// kustomize renders a directory with the kubectl that hack/assets.sh has.
func kustomize(dir string) ([]object, error) {
	assets := exec.Command("hack/assets.sh", "kubectl")
	assets.Stderr = os.Stderr
	bin, err := assets.Output()
	if err != nil {
		return nil, fmt.Errorf("hack/assets.sh kubectl: %w (run this in the root of the source tree)", err)
	}
	build := exec.Command(filepath.Join(strings.TrimSpace(string(bin)), "kubectl"), "kustomize", dir)
	build.Stderr = os.Stderr
	out, err := build.Output()
	if err != nil {
		return nil, fmt.Errorf("kubectl kustomize %s: %w", dir, err)
	}
	return parse(out)
}

// removeStale removes the templates that an earlier run wrote and this one does not.
func removeStale(dir string, files map[string][]byte) error {
	return filepath.WalkDir(filepath.Join(dir, "templates"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if _, wanted := files[name]; err != nil || wanted || !bytes.HasPrefix(content, []byte(header)) {
			return err
		}
		return os.Remove(path)
	})
}
