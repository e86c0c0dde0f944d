package runtime_test

import (
	"testing"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

func TestParseSignal(t *testing.T) {
	for text, want := range map[string]runtime.Signal{
		"SIGTERM": 15, "SIGUSR1": 10, "SIGQUIT": 3, "SIGWINCH": 28, "SIGRTMIN": 34, "SIGRTMIN+3": 37, "SIGRTMIN+15": 49, "SIGRTMAX-14": 50, "SIGRTMAX": 64,
		"SIGCLD": 17, "SIGIOT": 6, "SIGPOLL": 29, "SIGSTKFLT": 16, "SIGKILL": 9,
		"WINCH": 28, "int": 2, "sigint": 2, "RTMIN+3": 37, "3": 3, "64": 64, // as images have it
	} {
		if got, err := runtime.ParseSignal(text); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "65", "-1", "SIG", "SIGNONE", "TERM INT", "RTMIN+16", "9999999999999999999"} {
		if got, err := runtime.ParseSignal(text); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
}
