package podworker

import "testing"

func TestCheckPlace(t *testing.T) {
	for place, fits := range map[string]bool{"/": false, "//": false, "/x/..": false, ".": false, "/proc": false, "/proc/": false, "/proc/1": false, "proc/sys": false, "/proc/meminfo": true,
		"/proc/sys/crypto/fips_enabled": true, "/procedure": true, "/sys": true, "/sys/fs/cgroup": true, "/dev": true, "/dev/shm": true, "data": true, "/data/..data": true} {
		if err := checkPlace(place, false); (err == nil) != fits {
			t.Errorf("%s: %v", place, err)
		}
	}
	if err := checkPlace("/proc", true); err != nil {
		t.Errorf("the node's /proc: %v", err)
	}
}
