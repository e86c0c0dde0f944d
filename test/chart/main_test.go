package chart

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/util/yaml"

	"miniplane.dev/miniplane/test/testenv"
)

const namespace = "miniplane-system"

func TestMain(m *testing.M) { testenv.Main(m) }

// programs is the directory with helm and kubectl.
var programs = sync.OnceValues(func() (string, error) {
	cmd := exec.Command(filepath.Join(testenv.Root(), "hack", "assets.sh"), "helm", "kubectl")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
})

// run runs helm or kubectl in the root of the source tree, with directories of its own, and returns what it says.
func run(t *testing.T, program string, args ...string) (string, error) {
	t.Helper()
	bin, err := programs()
	if err != nil {
		t.Fatalf("hack/assets.sh: %v", err)
	}
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, program), args...)
	cmd.Dir = testenv.Root()
	cmd.Env = append(os.Environ(), "HOME="+home, "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, &stderr)
	}
	return stdout.String(), nil
}

func must(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := run(t, program, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// template renders the chart with these values, as YAML.
func template(t *testing.T, values string) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	return run(t, "helm", "template", "miniplane", "charts/miniplane", "--namespace", namespace, "--values", file)
}

type object = map[string]any

// objects are those of a YAML stream, by kind and name; those of another namespace than miniplane's by that too.
func objects(t *testing.T, stream string) map[string]object {
	t.Helper()
	found := map[string]object{}
	for decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(stream), 4096); ; {
		var o object
		err := decoder.Decode(&o)
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(o) == 0 {
			continue
		}
		metadata, _ := o["metadata"].(object)
		key := fmt.Sprintf("%s/%s", o["kind"], metadata["name"])
		if other := metadata["namespace"]; other != nil && other != namespace {
			key = fmt.Sprintf("%s/%s/%s", o["kind"], other, metadata["name"])
		}
		if found[key] != nil {
			t.Fatalf("two objects %s", key)
		}
		found[key] = o
	}
}

// leaves are the values of an object by their paths. A list of plain values is one, joined; the entries of other lists go
// by their names, or else by their numbers.
func leaves(value any, path string, into map[string]string) {
	switch value := value.(type) {
	case object:
		for key, part := range value {
			leaves(part, path+"."+key, into)
		}
	case []any:
		var plain []string
		for i, part := range value {
			entry, ok := part.(object)
			switch name := entry["name"]; {
			case !ok:
				plain = append(plain, fmt.Sprint(part))
			case name != nil:
				leaves(part, fmt.Sprintf("%s[%v]", path, name), into)
			default:
				leaves(part, fmt.Sprintf("%s[%d]", path, i), into)
			}
		}
		if plain != nil {
			into[path] = strings.Join(plain, " ")
		}
	default:
		into[path] = fmt.Sprint(value)
	}
}
