package cgroup

import (
	"strings"
	"testing"
)

// Whatever the mount table says, a hierarchy is found once, and only where a line says that one is mounted.
func FuzzParseMounts(f *testing.F) {
	f.Add("30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n")
	f.Add("31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n32 24 0:27 /a /mnt rw - cgroup cgroup rw,memory\n")
	f.Add("1 2 3 4 5 6 - cgroup\n - - - - - - - cgroup2 x y\n")
	f.Fuzz(func(t *testing.T, mountinfo string) {
		devices := map[string]bool{}
		for _, h := range parseMounts(strings.NewReader(mountinfo)) {
			if devices[h.device] {
				t.Errorf("%s is found twice", h.device)
			}
			devices[h.device] = true
			if !strings.Contains(mountinfo, h.root) || !strings.Contains(mountinfo, "cgroup") {
				t.Errorf("%+v is not there", h)
			}
		}
	})
}
