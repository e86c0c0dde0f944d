package main

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"miniplane.dev/miniplane/nodeagent/nettest"
)

const root = "../.."

// stub stands for the programs: what this tests is what is around them.
func stub(name string) ([]byte, error) { return []byte(name), nil }

// What the manifests and the programs take for granted is in the image.
func TestProductFiles(t *testing.T) {
	files, err := productFiles(stub)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]file{}
	for _, f := range files {
		if _, ok := byName["/"+f.name]; ok {
			t.Errorf("/%s is there twice", f.name)
		}
		byName["/"+f.name] = f
	}
	lookup := func(command string) string {
		for dir := range strings.SplitSeq(strings.TrimPrefix(productConfig.Env[0], "PATH="), ":") {
			if f, ok := byName[path.Join(dir, command)]; ok && (f.mode&0o111 != 0 || f.link != "") {
				return path.Join(dir, command)
			}
		}
		return ""
	}
	for _, command := range append(configured(t, `(?m)^ *command: \[([a-z]+)\]$`), "iptables", "iptables-restore",
		"iptables-nft", "iptables-nft-restore", "iptables-nft-save", "iptables-legacy", "iptables-legacy-restore", "iptables-legacy-save") {
		if lookup(command) == "" {
			t.Errorf("%s is not in the image's PATH", command)
		}
	}
	if path.Dir(lookup("nodeagent")) != path.Dir(lookup("pause")) {
		t.Error("the agent does not find pause beside it")
	}
	for name, f := range byName {
		if f.link != "" && byName[path.Join(path.Dir(name), f.link)].name == "" {
			t.Errorf("%s is a link to %s, which is not there", name, f.link)
		}
	}
	for _, want := range []string{certificates, "/etc/passwd"} {
		if len(byName[want].content) == 0 {
			t.Errorf("%s is missing", want)
		}
	}
	if images := configured(t, `(?m)^ *image: (\S+)$`); len(images) == 0 || slices.ContainsFunc(images, func(image string) bool { return image != productRef }) {
		t.Errorf("config/ names the images %v, and this one is %s", images, productRef)
	}
}

// configured finds what the manifests of config/ say.
func configured(t *testing.T, pattern string) []string {
	t.Helper()
	var found []string
	for _, name := range []string{"manager/manager.yaml", "agent/agent.yaml", "uninstall/job.yaml"} {
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(read(t, "config/"+name), -1) {
			found = append(found, match[1])
		}
	}
	if len(found) < 3 {
		t.Fatalf("%s matches only %v in config/", pattern, found)
	}
	return found
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// rules are of the kinds that the agent makes.
const rules = `*nat
:MINI-A - [0:0]
-A MINI-A ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j RETURN
-A MINI-A -p tcp -m tcp --dport 80 -m statistic --mode random --probability 0.5 -m comment --comment "a b" -j DNAT --to-destination 192.0.2.1:80
-A MINI-A -p udp -m udp --dport 53 -m recent --set --name X --rsource -j MASQUERADE --random-fully
COMMIT
*filter
:MINI-B - [0:0]
-A MINI-B -m conntrack --ctstate INVALID -j DROP
-A MINI-B -p tcp -j REJECT --reject-with tcp-reset
COMMIT
`

// The image's iptables works with nothing but the image around it: its libraries and extensions are all there.
func TestProductIptables(t *testing.T) {
	nettest.Root(t)
	files, err := productFiles(stub)
	if err != nil {
		t.Fatal(err)
	}
	layer, err := newLayer(files)
	if err != nil {
		t.Fatal(err)
	}
	image, err := newImage(layer, productConfig)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := unpack(image, dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"iptables-restore", "iptables-nft-restore", "iptables-legacy-restore"} {
		restore := exec.CommandContext(t.Context(), "/usr/sbin/"+name, "--noflush")
		restore.SysProcAttr = &syscall.SysProcAttr{Chroot: dir, Cloneflags: syscall.CLONE_NEWNET}
		restore.Dir, restore.Env, restore.Stdin = "/", []string{"XTABLES_LOCKFILE=/tmp/lock"}, strings.NewReader(rules)
		if out, err := restore.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "tmp")); err != nil || info.Mode()&os.ModeSticky == 0 {
		t.Errorf("/tmp: %v, %v", info, err)
	}
}

// The Dockerfile gives its image the same settings, and copies every package that the build needs.
func TestDockerfile(t *testing.T) {
	dockerfile := read(t, "Dockerfile")
	for _, want := range []string{"\nENV " + productConfig.Env[0] + "\n", "\nUSER " + productConfig.User + "\n"} {
		if !strings.Contains(dockerfile, want) {
			t.Errorf("the Dockerfile lacks %q", want)
		}
	}
	copied := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^COPY (\S+) (\S+)$`).FindAllStringSubmatch(dockerfile, -1) {
		if match[1] != match[2] {
			t.Errorf("%s is copied to %s", match[1], match[2])
		}
		copied[match[1]] = true
	}
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", `{{with .Module}}{{if .Main}}{{$.ImportPath}}{{end}}{{end}}`, "./cmd/...", "./hack/image")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	var missing []string
	for pkg := range strings.FieldsSeq(string(out)) {
		dir := strings.TrimPrefix(pkg, "miniplane.dev/miniplane/")
		for dir != "." && !copied[dir] {
			dir = path.Dir(dir)
		}
		if dir == "." {
			missing = append(missing, pkg)
		}
	}
	if diff := cmp.Diff([]string(nil), missing); diff != "" {
		t.Errorf("the Dockerfile does not copy these packages:\n%s", diff)
	}
	for line := range strings.Lines(read(t, ".dockerignore")) {
		if copied[strings.TrimSpace(line)] {
			t.Errorf("the Dockerfile copies %s, which .dockerignore leaves out", line)
		}
	}
}
