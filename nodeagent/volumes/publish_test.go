package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"miniplane.dev/miniplane/test/containerdenv"
)

func quietly(string) error { return nil }

// shown is what a container sees of a directory: files by their paths, without what begins with two dots.
func shown(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), "..") {
			continue
		}
		top := filepath.Join(dir, entry.Name())
		real, err := filepath.EvalSymlinks(top)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a link to what is no more, or not yet
		}
		if err != nil {
			t.Fatal(err)
		}
		err = filepath.WalkDir(real, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			out[strings.TrimPrefix(top, dir+"/")+strings.TrimPrefix(path, real)] = string(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func textsOf(files Files) map[string]string {
	out := map[string]string{}
	for path, file := range files {
		out[path] = string(file.Data)
	}
	return out
}

func text(pairs ...string) Files {
	out := Files{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = File{Data: []byte(pairs[i+1]), Mode: 0o644}
	}
	return out
}

// Files come, change, become directories and go; and of earlier ones nothing is left.
func TestPublish(t *testing.T) {
	containerdenv.RequireRoot(t)
	dir := t.TempDir()
	for i, files := range []Files{
		text("a", "1", "b/c", "2"), text("a", "1", "b/c", "2"), text("a", "changed", "b/c", "2", "b/d", "3"), text("a/now", "a directory"), text("b", "now a file"), {},
	} {
		if err := publish(dir, files, nil, quietly); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(textsOf(files), shown(t, dir)); diff != "" {
			t.Errorf("version %d (-want +got):\n%s", i, diff)
		}
		if entries, _ := filepath.Glob(dir + "/..2*"); len(entries) != 1 {
			t.Errorf("version %d: directories %v", i, entries)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 { // the directory and the link to it
		t.Errorf("left: %v, %v", entries, err)
	}
}

// What did not change is not touched, so that who watches it hears nothing; modes are what they are said to be, whatever the umask.
func TestPublishTwice(t *testing.T) {
	containerdenv.RequireRoot(t)
	dir := t.TempDir()
	files := Files{"a": {Data: []byte("1"), Mode: 0o777}, "b": {Mode: 0}}
	if err := publish(dir, files, nil, quietly); err != nil {
		t.Fatal(err)
	}
	first, _ := os.Readlink(filepath.Join(dir, dataLink))
	if err := publish(dir, files, nil, quietly); err != nil {
		t.Fatal(err)
	}
	if second, _ := os.Readlink(filepath.Join(dir, dataLink)); first == "" || second != first {
		t.Errorf("moved from %q to %q", first, second)
	}
	files["a"] = File{Data: []byte("1"), Mode: 0o700}
	files["c"] = File{Mode: 0o400}
	group := uint32(2000)
	files.SetOwner(nil, &group)
	if err := publish(dir, files, nil, quietly); err != nil {
		t.Fatal(err)
	}
	for name, file := range files {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != fs.FileMode(file.Mode) || info.Mode()&0o440 != 0o440 || info.Sys().(*syscall.Stat_t).Gid != 2000 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

// An agent that dies after any step leaves either what there was or what there is to be, never a part of both; and the next one ends what it began.
func TestPublishIsCutShort(t *testing.T) {
	containerdenv.RequireRoot(t)
	before, after := text("a", "old", "b/c", "old", "gone", "old"), text("a", "new", "b/c", "new", "come", "new")
	steps := 0
	for cut := 0; ; cut++ {
		dir := t.TempDir()
		if err := publish(dir, before, nil, quietly); err != nil {
			t.Fatal(err)
		}
		done, errCut := 0, errors.New("cut")
		err := publish(dir, after, nil, func(string) error {
			if done++; done > cut {
				return errCut
			}
			return nil
		})
		if err != nil && !errors.Is(err, errCut) {
			t.Fatal(err)
		}
		values := map[string]bool{}
		for _, value := range shown(t, dir) {
			values[value] = true
		}
		if len(values) != 1 {
			t.Errorf("cut after step %d: %v", cut, shown(t, dir))
		}
		if publish(dir, after, nil, quietly) != nil || cmp.Diff(textsOf(after), shown(t, dir)) != "" {
			t.Errorf("cut after step %d, then made again: %v", cut, shown(t, dir))
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 2+3 {
			t.Errorf("cut after step %d: left %v", cut, entries)
		}
		if err == nil {
			break
		}
		steps++
	}
	if steps < 5 {
		t.Errorf("only %d steps were tried", steps)
	}
}

func TestSizeOfFiles(t *testing.T) {
	many := Files{}
	for i := range mostBytes / filePage {
		many[fmt.Sprint(i)] = File{}
	}
	if err := checkSize([]Wanted{{Files: many}}); err != nil {
		t.Error(err)
	}
	if err := checkSize([]Wanted{{Files: many}, {Files: text("a", "")}}); err == nil {
		t.Error("files without end are taken")
	}
	if err := checkSize([]Wanted{{Files: Files{"a": {Data: make([]byte, mostBytes+1)}}}}); err == nil || !strings.Contains(err.Error(), "8 MiB") {
		t.Error(err)
	}
}

// Directories for other volumes stay where they are when files change, and are not made among files.
func TestPublishBesideDirs(t *testing.T) {
	containerdenv.RequireRoot(t)
	dir := t.TempDir()
	dirs := []string{"deep/data", "b/inner", "../out", "..data/x"}
	var first os.FileInfo
	for i, files := range []Files{text("a", "1", "b/c", "2"), text("a", "changed", "b/c", "2")} {
		must(t, publish(dir, files, dirs, quietly))
		if diff := cmp.Diff(textsOf(files), shown(t, dir)); diff != "" {
			t.Errorf("version %d (-want +got):\n%s", i, diff)
		}
		made, err := os.Stat(filepath.Join(dir, "deep", "data"))
		must(t, err)
		if first != nil && !os.SameFile(first, made) {
			t.Error("a directory is another one after a change")
		}
		first = made
	}
	for _, none := range []string{"b/inner", "../out", "..data/x"} {
		if _, err := os.Lstat(filepath.Join(dir, none)); err == nil {
			t.Errorf("%s was made", none)
		}
	}
}
