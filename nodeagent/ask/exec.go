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
	switch {
	case end.TimedOut:
		return fmt.Sprintf("command timed out after %s: %s", timeout, strings.TrimSpace(string(end.Output)))
	case end.ExitCode != 0:
		return fmt.Sprintf("command ended with %d: %s", end.ExitCode, strings.TrimSpace(string(end.Output)))
	}
	return ""
}
