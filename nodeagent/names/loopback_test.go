package names

import (
	"strings"
	"testing"
)

// Whatever a machine's resolver configuration says, it is set aside only where it names servers that a MiniPod cannot reach, and
// none that it can.
func FuzzOnlyLoopback(f *testing.F) {
	f.Add("nameserver 127.0.0.53\noptions edns0\n", "8.8.8.8")
	f.Add("", "::1")
	f.Add("nameserver\nnameserver ::1 # stub", "127.0.0.1")
	f.Fuzz(func(t *testing.T, text, server string) {
		if OnlyLoopback([]byte(text)) && !strings.Contains(text, "nameserver") {
			t.Errorf("%q names no server", text)
		}
		if strings.ContainsAny(server, "\r\n\v\f\u0085\u2028 \t") || server == "" {
			return
		}
		fields := strings.Fields(server)
		if len(fields) != 1 || strings.HasPrefix(server, "127.") || server == "::1" {
			return
		}
		if OnlyLoopback([]byte(text + "\nnameserver " + server + "\n")) {
			t.Errorf("%q has %s, which can be reached", text, server)
		}
	})
}
