package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"miniplane.dev/miniplane/hack/ociarchive"
)

// productRef is the image that config/ names.
const productRef = "miniplane.dev/miniplane:dev"

// productImages is miniplane itself, with the contents that the Dockerfile gives it: both programs, the pause and shim programs, and
// iptables with its libraries, which come from this machine's package.
func productImages() ([]ociarchive.Named, error) {
	files, err := productPrograms()
	if err != nil {
		return nil, err
	}
	tables, err := iptablesFiles()
	if err != nil {
		return nil, err
	}
	layer, err := newLayer(append(files, tables...))
	if err != nil {
		return nil, err
	}
	image, err := newImage(layer, v1.Config{Env: []string{"PATH=/usr/local/bin:/usr/sbin"}, User: nobody})
	return []ociarchive.Named{{Ref: productRef, Image: image}}, err
}

func productPrograms() ([]file, error) {
	manager, err1 := goBinary("./cmd/manager")
	agent, err2 := goBinary("./cmd/nodeagent")
	pause, err3 := scriptBinary("pause")
	shim, err4 := scriptBinary("shim")
	return []file{
		{name: "usr/local/bin/manager", mode: 0o755, content: manager},
		{name: "usr/local/bin/nodeagent", mode: 0o755, content: agent},
		{name: "usr/local/bin/pause", mode: 0o755, content: pause},
		{name: "usr/local/bin/shim", mode: 0o755, content: shim},
		{name: "etc/passwd", mode: 0o644, content: []byte("root:x:0:0:root:/:/\nnobody:x:65532:65532:nobody:/:/\n")},
	}, errors.Join(err1, err2, err3, err4)
}

// scriptBinary is a program that hack/NAME.sh builds.
func scriptBinary(name string) ([]byte, error) {
	dir, err := exec.Command("hack/" + name + ".sh").Output()
	if err != nil {
		return nil, fmt.Errorf("hack/%s.sh: %w", name, err)
	}
	return os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), name))
}

// iptablesFiles are the iptables of nf_tables, under its usual names, its extensions, and the libraries of all of them.
func iptablesFiles() ([]file, error) {
	const program = "/usr/sbin/xtables-nft-multi"
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("%w: apt-get install iptables", err)
	}
	paths := []string{program}
	extensions, err := filepath.Glob("/usr/lib/*/xtables/lib*.so")
	if err != nil {
		return nil, err
	}
	if len(extensions) == 0 {
		return nil, errors.New("iptables has no extensions in /usr/lib/*/xtables")
	}
	for _, path := range extensions {
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
			paths = append(paths, path)
		}
	}
	libraries, err := librariesOf(paths)
	if err != nil {
		return nil, err
	}
	var files []file
	for _, path := range append(paths, libraries...) {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		files = append(files, file{name: strings.TrimPrefix(path, "/"), mode: 0o755, content: content})
	}
	for _, path := range extensions { // some extensions are other names of one file
		if target, err := os.Readlink(path); err == nil {
			files = append(files, file{name: strings.TrimPrefix(path, "/"), link: target})
		}
	}
	for _, name := range []string{"iptables", "iptables-save", "iptables-restore"} {
		files = append(files, file{name: "usr/sbin/" + name, link: filepath.Base(program)})
	}
	return files, nil
}

var libraryPath = regexp.MustCompile(`(/\S+) \(0x`)

// librariesOf are the shared libraries that the files need, and the loader, where the loader looks for them.
func librariesOf(paths []string) ([]string, error) {
	var all []string
	for _, path := range paths {
		binary, err := elf.Open(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		needed, err := binary.ImportedLibraries()
		_ = binary.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if len(needed) == 0 {
			continue
		}
		out, err := exec.Command("ldd", path).Output()
		if err != nil {
			return nil, fmt.Errorf("ldd %s: %w", path, err)
		}
		for _, match := range libraryPath.FindAllStringSubmatch(string(out), -1) {
			all = append(all, match[1])
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}
