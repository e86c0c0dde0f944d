package containerd

import (
	"os"
	"strconv"
	"strings"
)

const capSysResource = 24

// lowestOOMScore is the lowest oom_score_adj that may be asked of runc. Without CAP_SYS_RESOURCE a process may not make
// itself a less likely victim than it was made, and runc would fail.
func lowestOOMScore() int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			if err == nil && caps&(1<<capSysResource) != 0 {
				return -1000
			}
		}
	}
	text, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return 0
	}
	adj, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return adj
}
