package fake_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/conformance"
	"miniplane.dev/miniplane/nodeagent/runtime/fake"
)

func TestConformance(t *testing.T) {
	r := fake.New("busybox:test", "stops:test")
	r.SetStopSignal("stops:test", 10)
	r.SetProgram(func(spec runtime.ContainerSpec) fake.Behaviour {
		var p conformance.Program
		if err := json.Unmarshal([]byte(spec.Command[1]), &p); err != nil {
			t.Error(err)
		}
		return fake.Behaviour{Output: p.Print, Exits: p.Exits, ExitCode: p.ExitCode, IgnoresTerm: p.IgnoreTerm}
	})
	r.SetExec(func(ctx context.Context, _ runtime.ContainerSpec, args []string) (int, string) {
		var p conformance.Program
		if err := json.Unmarshal([]byte(args[1]), &p); err != nil {
			t.Error(err)
		}
		if !p.Exits {
			return fake.Hangs(ctx)
		}
		return p.ExitCode, strings.Join(append(p.Print, ""), "\n")
	})
	login := runtime.RegistryAuth{Registry: "r.example", Username: "me", Password: "secret"}
	r.SetPrivate("r.example/private:1", login)
	conformance.Run(t, conformance.Harness{
		Private: "r.example/private:1",
		Login:   login,
		New:     func(*testing.T) runtime.Runtime { return r },
		Image:   "busybox:test",
		Stops:   "stops:test",
		Missing: "missing:test",
		Command: func(p conformance.Program) []string {
			text, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			return []string{"program", string(text)}
		},
	})
}
