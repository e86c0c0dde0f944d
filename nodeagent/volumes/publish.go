package volumes

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
)

// dataLink is the link that is moved; what a container sees are links through it. The names are a kubelet's, which programs watch for.
const (
	dataLink    = "..data"
	newDataLink = "..data_tmp"
)

// hasFiles tells whether files were ever published in a directory.
func hasFiles(dir string) bool {
	_, err := os.Stat(path.Join(dir, dataLink))
	return err == nil
}

// publish makes the files of a directory what is given, all at once. It may be cut short after any step: the next time it goes on, and until
// the link is moved, in one step of the kernel, containers see what there was.
func publish(dir string, files Files, dirs []string, after func(step string) error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	current, _ := root.Readlink(dataLink)
	if current == "" || !same(root, current, files) {
		if err := tidyVersions(root, current); err != nil { // there is room for two of them
			return err
		}
		if current, err = replace(root, files, after); err != nil {
			return err
		}
	}
	if err := errors.Join(link(root, files), makeDirs(root, files, dirs)); err != nil {
		return err
	}
	if err := after("links"); err != nil {
		return err
	}
	return tidy(root, current, files, dirs)
}

// same tells whether a directory has these files and no others.
func same(root *os.Root, dir string, files Files) bool {
	seen := 0
	err := fs.WalkDir(root.FS(), dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		want, ok := files[strings.TrimPrefix(name, dir+"/")]
		info, err := entry.Info()
		if err != nil || !ok || info.Mode() != fs.FileMode(want.Mode) {
			return errors.Join(err, errOther)
		}
		if owner := info.Sys().(*syscall.Stat_t); owner.Uid != want.User || owner.Gid != want.Group {
			return errOther
		}
		data, err := root.ReadFile(name)
		if err != nil || !bytes.Equal(data, want.Data) {
			return errors.Join(err, errOther)
		}
		seen++
		return nil
	})
	return err == nil && seen == len(files)
}

var errOther = errors.New("it is another one")

// replace writes a new directory and moves the link to it.
func replace(root *os.Root, files Files, after func(string) error) (string, error) {
	dir := time.Now().UTC().Format("..2006_01_02_15_04_05.000000000")
	if err := root.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	if err := root.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	if err := after("directory"); err != nil {
		return "", err
	}
	for name, file := range files {
		full := path.Join(dir, name)
		if err := root.MkdirAll(path.Dir(full), 0o755); err != nil {
			return "", err
		}
		if err := root.WriteFile(full, file.Data, 0o600); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		if err := errors.Join(root.Chown(full, int(file.User), int(file.Group)), root.Chmod(full, fs.FileMode(file.Mode))); err != nil {
			return "", err
		}
	}
	if err := after("files"); err != nil {
		return "", err
	}
	if err := root.Remove(newDataLink); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := root.Symlink(dir, newDataLink); err != nil {
		return "", err
	}
	if err := after("link"); err != nil {
		return "", err
	}
	if err := root.Rename(newDataLink, dataLink); err != nil {
		return "", err
	}
	return dir, after("moved")
}

// link makes the links that containers see: one for each first part of a path.
func link(root *os.Root, files Files) error {
	for name := range files {
		first, _, _ := strings.Cut(name, "/")
		target := dataLink + "/" + first
		if now, err := root.Readlink(first); err == nil && now == target {
			continue
		}
		if err := root.RemoveAll(first); err != nil {
			return err
		}
		if err := root.Symlink(target, first); err != nil {
			return err
		}
	}
	return nil
}

// tidy takes away links to what is no more, former directories, and what was cut short.
func tidy(root *os.Root, current string, files Files, dirs []string) error {
	keep := firstParts(files)
	keep[dataLink], keep[current] = true, true
	for _, dir := range dirs {
		first, _, _ := strings.Cut(dir, "/")
		keep[first] = true
	}
	return removeBut(root, func(name string) bool { return keep[name] })
}

// firstParts are the first parts of the paths of files.
func firstParts(files Files) map[string]bool {
	out := map[string]bool{}
	for name := range files {
		first, _, _ := strings.Cut(name, "/")
		out[first] = true
	}
	return out
}

// makeDirs makes directories for other volumes. None is made among files, which are replaced with their directories: what is mounted there would be
// gone with the next change.
func makeDirs(root *os.Root, files Files, dirs []string) error {
	taken := firstParts(files)
	for _, dir := range dirs {
		if first, _, _ := strings.Cut(dir, "/"); taken[first] || CheckPath(dir) != nil {
			continue
		}
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// tidyVersions takes away what was cut short when it was written, and never seen.
func tidyVersions(root *os.Root, current string) error {
	return removeBut(root, func(name string) bool { return !strings.HasPrefix(name, "..") || name == dataLink || name == current })
}

// removeBut removes what is in a directory, but for what is to be kept.
func removeBut(root *os.Root, keep func(name string) bool) error {
	top, err := root.Open(".")
	if err != nil {
		return err
	}
	names, err := top.Readdirnames(-1)
	_ = top.Close()
	if err != nil {
		return err
	}
	for _, name := range names {
		if keep(name) {
			continue
		}
		if err := root.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}
