package api

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podsecurity"
	"miniplane.dev/miniplane/test/testenv"
)

// fixture is a Pod of Kubernetes' own tests of Pod Security, as a MiniPod.
type fixture struct {
	level, version string
	pass           bool
	name           string
	// text is the manifest, the same for many levels and versions.
	text string
}

// fixtures are all that the module k8s.io/pod-security-admission comes with: for each level and version, Pods that pass and
// Pods that fail.
func fixtures(t *testing.T) []fixture {
	t.Helper()
	find := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/pod-security-admission")
	find.Dir = testenv.Root()
	dir, err := find.Output()
	if err != nil {
		t.Fatalf("find the fixtures of Pod Security: %v", err)
	}
	root := filepath.Join(strings.TrimSpace(string(dir)), "test", "testdata")
	var out []fixture
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		part := strings.Split(relative, string(filepath.Separator))
		if len(part) != 4 || part[2] != "pass" && part[2] != "fail" {
			return fmt.Errorf("%s is not <level>/<version>/<pass or fail>/<name>", relative)
		}
		text, err := os.ReadFile(path)
		out = append(out, fixture{level: part[0], version: part[1], pass: part[2] == "pass", name: relative, text: string(text)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// asMiniPod changes what a user would change: apiVersion and kind.
func asMiniPod(t *testing.T, text, namespace string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), object); err != nil {
		t.Fatal(err)
	}
	object.SetAPIVersion(miniv1.GroupVersion.String())
	object.SetKind("MiniPod")
	object.SetNamespace(namespace)
	object.SetName("fixture") // theirs have underscores
	return object
}

// lacking are the fields, and values of fields, that MiniPods do not have and some passing fixtures use. A field that works
// comes off this list; none may come onto it unseen.
var lacking = []string{
	`spec.ephemeralContainers`, `spec.hostUsers`, `spec.os.name`, `spec.volumes[].csi`, `spec.volumes[].ephemeral`,
	`spec.volumes[].persistentVolumeClaim`, `spec.securityContext.appArmorProfile`,
	`spec.securityContext.seLinuxOptions`, `spec.securityContext.sysctls`, `spec.securityContext.windowsOptions`,
	`spec.containers[].securityContext.appArmorProfile`,
	`spec.containers[].securityContext.procMount`, `spec.containers[].securityContext.seLinuxOptions`,
	`spec.containers[].securityContext.windowsOptions`,
	`spec.securityContext.seccompProfile.localhostProfile`, `spec.containers[].securityContext.seccompProfile.localhostProfile`,
}

// refusedAlready is how the schema refuses what Pod Security refuses too: a native Pod's wrong name of a capability.
var refusedAlready = regexp.MustCompile(`securityContext\.capabilities\.add\[0\]: Invalid value: "CAP_CHOWN"`)

var unknownField = regexp.MustCompile(`unknown field "([^"]+)"|(spec\.os\.name): Unsupported value: "windows"`)

// unsupportedVolume is how the policy about volumes names a kind.
var unsupportedVolume = regexp.MustCompile(`(\w+) of volume [-a-z0-9]+ is not supported, because`)

// lacks lists the unsupported fields that a strict API server named; those of all containers as of one kind.
func lacks(err error) []string {
	var out []string
	for _, match := range unsupportedVolume.FindAllStringSubmatch(err.Error(), -1) {
		out = append(out, "spec.volumes[]."+match[1])
	}
	for _, match := range unknownField.FindAllStringSubmatch(err.Error(), -1) {
		field := regexp.MustCompile(`\[\d+\]`).ReplaceAllString(match[1]+match[2], "[]")
		out = append(out, strings.Replace(field, "spec.initContainers[]", "spec.containers[]", 1))
	}
	return out
}

// admitted is the MiniPod that the API server made of a manifest, or why it refused.
type admitted struct {
	pod *miniv1.MiniPod
	err error
}

func admit(t *testing.T, c client.Client, text, namespace string) admitted {
	t.Helper()
	object := asMiniPod(t, text, namespace)
	if err := strict(c).Create(t.Context(), object, client.DryRunAll); err != nil {
		return admitted{err: err}
	}
	pod := &miniv1.MiniPod{}
	if err := apiruntime.DefaultUnstructuredConverter.FromUnstructured(object.Object, pod); err != nil {
		t.Fatal(err)
	}
	return admitted{pod: pod}
}

// Every Pod that Kubernetes' tests of Pod Security refuse is refused as a MiniPod, by the schema or by the level; and every one that
// they admit is admitted, if MiniPods have its fields.
func TestPodSecurityFixtures(t *testing.T) {
	_, c := testenv.Start(t)
	namespace := testenv.Namespace(t, c)
	seen, ran, named := map[string]admitted{}, map[string]int{}, map[string]bool{}
	answers := map[string]bool{}
	for _, f := range fixtures(t) {
		outcome, known := seen[f.text]
		if !known {
			outcome = admit(t, c, f.text, namespace)
			seen[f.text] = outcome
		}
		if outcome.err != nil {
			fields := lacks(outcome.err)
			if len(fields) == 0 && (f.pass || !refusedAlready.MatchString(outcome.err.Error())) {
				t.Errorf("%s: refused, but for nothing that MiniPods lack: %v", f.name, outcome.err)
			}
			for _, field := range fields {
				named[field] = named[field] || f.pass
			}
			ran[f.level+verdict(f.pass)+": refused by the schema"]++
			continue
		}
		labels := map[string]string{"pod-security.kubernetes.io/enforce": f.level, "pod-security.kubernetes.io/enforce-version": f.version}
		refusal := podsecurity.PolicyOf(labels).Check(outcome.pod)
		class := f.level + f.version + podsecurity.Digest(outcome.pod)
		if before, ok := answers[class]; ok && before != (refusal == nil) {
			t.Errorf("%s: another answer than for a MiniPod of the same digest", f.name)
		}
		answers[class] = refusal == nil
		switch {
		case f.pass && refusal != nil:
			t.Errorf("%s: %s", f.name, refusal.Message)
		case !f.pass && refusal == nil:
			t.Errorf("%s: admitted", f.name)
		case !f.pass && (refusal.Reason != miniv1.ReasonPodSecurityViolation || !strings.Contains(refusal.Message, f.level+":"+f.version)):
			t.Errorf("%s: %+v", f.name, refusal)
		case f.pass:
			ran[f.level+verdict(f.pass)+": admitted"]++
		default:
			ran[f.level+verdict(f.pass)+": refused by the level"]++
		}
	}
	for field, inPassing := range named {
		if inPassing && !slices.Contains(lacking, field) {
			t.Errorf("a passing fixture is refused for %s, which is not on the list of fields that MiniPods lack", field)
		}
	}
	for _, level := range []string{"baseline", "restricted"} {
		for _, way := range []string{", to pass: admitted", ", to fail: refused by the schema", ", to fail: refused by the level"} {
			if ran[level+way] < 100 {
				t.Errorf("%s: only %d fixtures", level+way, ran[level+way])
			}
		}
	}
	for _, way := range slices.Sorted(maps.Keys(ran)) {
		t.Logf("%s: %d", way, ran[way])
	}
	if total := sum(ran); !t.Failed() && total < 4500 {
		t.Errorf("only %d fixtures were found; there are 4537 in the version of Kubernetes 1.37", total)
	}
	t.Logf("%d manifests, %d of them different", sum(ran), len(seen))
}

func verdict(pass bool) string {
	if pass {
		return ", to pass"
	}
	return ", to fail"
}

func sum(counts map[string]int) (n int) {
	for _, count := range counts {
		n += count
	}
	return n
}

// What has a security context can be changed like anything else: its images and its grace period.
func TestChangeBesideASecurityContext(t *testing.T) {
	_, c := testenv.Start(t)
	object, _ := load(t, "../../config/samples/minipod.yaml", testenv.Namespace(t, c))
	spec := object.Object["spec"].(map[string]any)
	spec["securityContext"] = map[string]any{"runAsUser": int64(1000), "seccompProfile": map[string]any{"type": "RuntimeDefault"}}
	spec["containers"].([]any)[0].(map[string]any)["securityContext"] = map[string]any{"capabilities": map[string]any{"drop": []any{"ALL"}}}
	if err := strict(c).Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	for patch, want := range map[string]string{
		`[{"op":"replace","path":"/spec/containers/0/image","value":"other:1"}]`:               "",
		`[{"op":"replace","path":"/spec/terminationGracePeriodSeconds","value":1}]`:            "",
		`[{"op":"remove","path":"/spec/securityContext"}]`:                                     "securityContext cannot be changed",
		`[{"op":"replace","path":"/spec/securityContext/runAsUser","value":0}]`:                "securityContext cannot be changed",
		`[{"op":"remove","path":"/spec/containers/0/securityContext"}]`:                        "securityContext of container echo cannot be changed",
		`[{"op":"remove","path":"/spec/containers/0/securityContext/capabilities/drop/0"}]`:    "securityContext of container echo cannot be changed",
		`[{"op":"add","path":"/spec/containers/0/securityContext/runAsNonRoot","value":true}]`: "securityContext of container echo cannot be changed",
	} {
		err := c.Patch(t.Context(), object.DeepCopy(), client.RawPatch(jsonPatch, []byte(patch)), client.DryRunAll)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", patch, err, want)
		}
	}
}
