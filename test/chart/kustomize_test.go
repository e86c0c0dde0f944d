package chart

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"miniplane.dev/miniplane/test/testenv"
)

// The kustomization that docs/install.md gives as an example does what the page says: the same as these values of the chart.
func TestKustomizationOfTheDocs(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(testenv.Root(), "docs/install.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(page), "## With kustomize\n")
	_, after, _ = strings.Cut(after, "```yaml\n")
	example, _, found := strings.Cut(after, "```\n")
	if !found {
		t.Fatal("docs/install.md has no kustomization")
	}
	dir := t.TempDir()
	clone, err := filepath.Rel(dir, testenv.Root())
	if err != nil {
		t.Fatal(err)
	}
	const base = "- miniplane/config/default "
	if !strings.Contains(example, base) {
		t.Fatalf("no %q in\n%s", base, example)
	}
	example = strings.Replace(example, base, "- "+clone+"/config/default ", 1)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	configured := objects(t, must(t, "kubectl", "kustomize", dir))
	out, err := template(t, "image: {repository: registry.example.com/miniplane, tag: v0.1.0}\n"+
		"agent: {resources: {requests: {cpu: 2, memory: 8Gi}}, maxPods: 250, encapsulation: always}\n")
	if err != nil {
		t.Fatal(err)
	}
	charted := objects(t, out)
	for _, workload := range []string{manager, agent} {
		got, want := map[string]string{}, map[string]string{}
		leaves(configured[workload]["spec"], "spec", got)
		leaves(charted[workload]["spec"], "spec", want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-chart +kustomize):\n%s", workload, diff)
		}
	}
	args := map[string]string{}
	leaves(configured[agent], agent, args)
	if !strings.HasSuffix(args[agentArg], " --encapsulation=always") {
		t.Errorf("the agent is given %s", args[agentArg])
	}
}
