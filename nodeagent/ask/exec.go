package ask

import (
	"fmt"
	"strings"
	"time"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

// MaxAnswer is how much is read of an answer, in bytes, as a kubelet does.
const MaxAnswer = 10 << 10

// Failure is how a command failed, in words; empty when it ended well.
func Failure(end runtime.Executed, timeout time.Duration) string {
	var how string
	switch {
	case end.TimedOut:
		how = fmt.Sprintf("command timed out after %s", timeout)
	case end.ExitCode != 0:
		how = fmt.Sprintf("command ended with %d", end.ExitCode)
	default:
		return ""
	}
	if said := strings.TrimSpace(string(end.Output)); said != "" {
		how += ": " + said
	}
	return how
}
