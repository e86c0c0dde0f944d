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

// productConfig lets the commands of config/ be found, and be run without rights where a Pod does not ask for them.
var productConfig = v1.Config{Env: []string{"PATH=/usr/local/bin:/usr/sbin"}, User: nobody}

// productImages is miniplane itself. One image holds both programs, because they are always released together and a cluster
// then has one name to mirror, to pull and to pin. It has no shell and no package manager: what is listed here is all. The
// Dockerfile copies the same list.
func productImages() ([]ociarchive.Named, error) {
	files, err := productFiles(buildProgram)
	if err != nil {
		return nil, err
	}
	layer, err := newLayer(files)
	if err != nil {
		return nil, err
	}
	image, err := newImage(layer, productConfig)
	return []ociarchive.Named{{Ref: productRef, Image: image}}, err
}

// buildProgram builds one of miniplane's programs.
func buildProgram(name string) ([]byte, error) {
	switch name {
	case "pause", "shim":
		dir, err := exec.Command("hack/" + name + ".sh").Output()
		if err != nil {
			return nil, fmt.Errorf("hack/%s.sh: %w", name, err)
		}
		return os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), name))
	default:
		var flags []string
		if *version != "" {
			flags = []string{"-X miniplane.dev/miniplane/nodeagent.Version=" + *version}
		}
		return goBinary("./cmd/"+name, flags...)
	}
}

// certificates is the list of authorities by which the agent trusts registries.
const certificates = "/etc/ssl/certs/ca-certificates.crt"

// productFiles are both programs, the agent's pause and shim programs, the iptables that the agent runs, and what it needs to pull
// images from registries. All that is not built comes from this machine's packages.
func productFiles(build func(program string) ([]byte, error)) ([]file, error) {
	var files []file
	for _, name := range []string{"manager", "nodeagent", "pause", "shim"} {
		program, err := build(name)
		if err != nil {
			return nil, err
		}
		files = append(files, file{name: "usr/local/bin/" + name, mode: 0o755, content: program})
	}
	authorities, err := os.ReadFile(certificates)
	if err != nil {
		return nil, fmt.Errorf("%w: apt-get install ca-certificates", err)
	}
	files = append(files,
		file{name: strings.TrimPrefix(certificates, "/"), mode: 0o644, content: authorities},
		file{name: "etc/passwd", mode: 0o644, content: []byte("root:x:0:0:root:/:/\nnobody:x:65532:65532:nobody:/:/\n")})
	tables, err := iptablesFiles()
	return append(files, tables...), err
}

// iptablesKinds are what Debian's package calls them; the first has the plain names too.
var iptablesKinds = []string{"nft", "legacy"}

// iptablesFiles are both kinds of iptables, under their usual names, their extensions, and the libraries of all of them. The agent
// chooses between them by what its node uses.
func iptablesFiles() ([]file, error) {
	var paths []string
	for _, kind := range iptablesKinds {
		program := "/usr/sbin/xtables-" + kind + "-multi"
		if _, err := os.Stat(program); err != nil {
			return nil, fmt.Errorf("%w: apt-get install iptables", err)
		}
		paths = append(paths, program)
	}
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
	for _, kind := range iptablesKinds {
		for _, verb := range []string{"", "-save", "-restore"} {
			program := "xtables-" + kind + "-multi"
			files = append(files, file{name: "usr/sbin/iptables-" + kind + verb, link: program})
			if kind == iptablesKinds[0] {
				files = append(files, file{name: "usr/sbin/iptables" + verb, link: program})
			}
		}
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
