package twin

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

const (
	busybox = "miniplane.dev/busybox:v1"
	echo    = "miniplane.dev/echo:v1"
	nowhere = "127.0.0.1:1/nowhere:v1" // refused at once
	// web is for the one history that pulls an image which is there: a kubelet that has begun to pull one takes it for no other Pod before it has it.
	web = "miniplane.dev/web:v1"
	// hostPort stands for a port of the node.
	hostPort = "HOSTPORT"
)

// history is what is compared: a spec, the moment at which it is, and what is done then, up to the next moment. A moment is as view.has reads it.
type history struct {
	name  string
	spec  spec
	until string
	then  []step
	// follow is a key of which everything that a watch saw is compared too, in order.
	follow string
	// short is for the few that every run of all tests has.
	short bool
}

type step struct {
	do    func(ctx context.Context, s *side) error
	until string
}

// spec is a Pod's, in YAML, in parts.
type spec struct {
	policy, fields    string
	inits, containers []string
}

func always(containers ...string) spec    { return spec{policy: "Always", containers: containers} }
func onFailure(containers ...string) spec { return spec{policy: "OnFailure", containers: containers} }
func never(containers ...string) spec     { return spec{policy: "Never", containers: containers} }

// after has the spec's containers begin after init containers.
func (s spec) after(inits ...string) spec { s.inits = inits; return s }

// with adds fields to the spec.
func (s spec) with(fields string) spec { s.fields = fields; return s }

func (s spec) yaml() string {
	out := "{restartPolicy: " + s.policy + ", containers: [" + strings.Join(s.containers, ", ") + "]"
	if len(s.inits) > 0 {
		out += ", initContainers: [" + strings.Join(s.inits, ", ") + "]"
	}
	if !strings.Contains(s.fields, "terminationGracePeriodSeconds") {
		out += ", terminationGracePeriodSeconds: 2"
	}
	if s.fields != "" {
		out += ", " + s.fields
	}
	return out + "}"
}

// sh is the container c, which runs a script; named is one of another name.
func sh(script string, fields ...string) string { return named("c", script, fields...) }

func named(name, script string, fields ...string) string {
	return container(name, busybox, append(fields, fmt.Sprintf("command: [sh, -c, %q]", script))...)
}

// sidecar is an init container that goes on.
func sidecar(name, script string, fields ...string) string {
	return named(name, script, append(fields, "restartPolicy: Always")...)
}

func container(name, image string, fields ...string) string {
	return fmt.Sprintf("{name: %s, image: %q, %s}", name, image, strings.Join(fields, ", "))
}

// says is the container c that runs a script whose output is its last words: what is in a container becomes something that the API says.
func says(script string, fields ...string) string {
	return sh("("+script+") > /dev/termination-log 2>&1", fields...)
}

// forever is a program that ends at once when it is asked to.
const forever = "trap 'exit 0' TERM; while :; do sleep 1 & wait; done"

// stubborn is one that has to be killed.
const stubborn = "trap '' TERM; while :; do sleep 1; done"

// deleted is a step: somebody deletes it.
func deleted(until string) step {
	return step{func(ctx context.Context, s *side) error { return s.client.Delete(ctx, s.name, metav1.DeleteOptions{}) }, until}
}

// made is a step: somebody makes an object, unless it is there.
func made(resource, manifest, until string) step {
	return step{func(ctx context.Context, s *side) error {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte("apiVersion: v1\n"+s.own(manifest)), &object.Object); err != nil {
			return err
		}
		objects := cluster.Resource(schema.GroupVersionResource{Version: "v1", Resource: resource}).Namespace(s.now.GetNamespace())
		_, err := objects.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: "twin", Force: true})
		return err
	}, until}
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// object is the name of the twins of a history.
func (h *history) object(i int) string {
	return strings.Trim(fmt.Sprintf("t%d-%.40s", i, notInNames.ReplaceAllString(strings.ToLower(h.name), "-")), "-")
}
