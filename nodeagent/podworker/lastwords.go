package podworker

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/nodeagent/foreign"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/stdio"
)

// What of its log can be the message of a container that ended, in bytes and in lines. They are a kubelet's.
const (
	maxLogWords = 2048
	maxLogLines = 80
)

// lastWordsName is the name of the file, among those of the sandbox, that an attempt sees as its terminationMessagePath. No other file
// there has a dot before a number.
func lastWordsName(container string, attempt int) string {
	return container + "." + strconv.Itoa(attempt) + ".words"
}

// offerLastWords makes the empty file in which a container may say why it ends, whoever it runs as. It can be written also where the root
// file system cannot, as in a native Pod.
func offerLastWords(files string, c *miniv1.Container, attempt int) (runtime.Mount, error) {
	name := lastWordsName(c.Name, attempt)
	out := runtime.Mount{HostPath: filepath.Join(files, name), ContainerPath: cmp.Or(c.TerminationMessagePath, corev1.TerminationMessagePathDefault)}
	dir, err := os.OpenRoot(files)
	if err != nil {
		return out, err
	}
	defer func() { _ = dir.Close() }()
	if err := foreign.Write(dir, name, nil); err != nil {
		return out, fmt.Errorf("its file for a termination message: %w", err)
	}
	return out, dir.Chmod(name, 0o666)
}

// hearLastWords reads what containers said that are newly known to have ended. One whose sandbox is gone says nothing any more.
func (w *worker) hearLastWords(desired *miniv1.MiniPod) {
	if desired == nil || w.observed.LastWords == nil || w.observed.box == nil || w.observed.box.Files == "" {
		return
	}
	for _, c := range w.observed.Containers {
		if _, heard := w.observed.LastWords[c.ID]; heard || c.State != podplan.StateExited {
			continue
		}
		spec := podplan.ContainerNamed(desired, c.Name)
		if spec == nil {
			continue
		}
		w.observed.LastWords[c.ID] = w.lastWords(desired, spec, c)
	}
}

func (w *worker) lastWords(desired *miniv1.MiniPod, spec *miniv1.Container, c podplan.Container) string {
	words := ""
	if dir, err := os.OpenRoot(w.observed.box.Files); err == nil {
		text, _ := foreign.Tail(dir, lastWordsName(c.Name, c.Attempt), podplan.MaxLastWords(desired))
		words = string(text)
		_ = dir.Close()
	}
	if words == "" && c.LogSpeaks(spec) {
		words, _ = stdio.Tail(w.pool.Layout.logPath(desired, c.Name, c.Attempt), maxLogLines, maxLogWords)
	}
	return string([]rune(words)) // each byte that is no text becomes one that says so, as of a native Pod
}

// forgetLastWords removes the file of a container that is removed.
func forgetLastWords(files string, c podplan.Container) {
	_ = os.Remove(filepath.Join(files, lastWordsName(c.Name, c.Attempt)))
}
