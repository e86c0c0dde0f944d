package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Limits of a cgroup with all below it. Zero is none.
type Limits struct {
	// CPUMillis is its weight against its neighbours when there is not enough cpu for all, in thousandths of a cpu. What the
	// neighbours leave it may use as well.
	CPUMillis int64
	// MemoryBytes is the most memory that it gets.
	MemoryBytes int64
	// PIDs is the most processes and threads that it has.
	PIDs int64
}

// ErrInUse says that more memory is used already than the limit would allow. Nothing is killed for a limit.
var ErrInUse = errors.New("more memory is in use than the limit")

// SetLimits sets the limits of a cgroup that was created and that others are in, not processes, in the hierarchies that have the
// controllers. Where a limit cannot be set the error names the file; it is ErrInUse where the memory limit is lower than what is
// in use, and then the old limit stays.
func SetLimits(path string, l Limits) error {
	return errors.Join(
		set(path, weight(l.CPUMillis), true),
		set(path, memory(l.MemoryBytes), true),
		set(path, pidsMax(l.PIDs), true),
	)
}

// LimitPIDs bounds the processes and threads of a cgroup that was created, with all below it; 0 is no limit. What runs already
// runs on, also if it is more.
func LimitPIDs(path string, most int64) error { return set(path, pidsMax(most), false) }

// LimitMemory bounds the memory of a cgroup that was created, with all below it. Where more is in use already it is ErrInUse, and there is no limit.
func LimitMemory(path string, most int64) error { return set(path, memory(most), false) }

// SetWeight sets the weight of cpu of a cgroup that was created against its neighbours, in thousandths of a cpu. Zero is the least,
// as of who asks for nothing.
func SetWeight(path string, millis int64) error { return set(path, weight(max(millis, 1)), false) }

// PIDCount is how many processes and threads a cgroup has, with all below it.
func PIDCount(path string) (int64, error) {
	for _, h := range hierarchies() {
		text, err := os.ReadFile(filepath.Join(h.root, path, "pids.current"))
		if err == nil {
			return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		}
	}
	return 0, fmt.Errorf("processes of cgroup %s: no hierarchy counts them there", path)
}

// setting is a limit as the two versions of cgroups write it.
type setting struct {
	v1, v2 entry
	// inUse is the file with what is in use, for a limit that must not be lower; atMost is that limit, in bytes.
	v1InUse, v2InUse string
	atMost           int64
}

type entry struct{ file, value string }

// The kernel's default weights, and the ends of the range of cgroup v1's.
const (
	defaultShares, minShares, maxShares = 1024, 2, 262144
	defaultWeight                       = 100
)

// weight of cpu: 1024 shares are one cpu, as the kubelet and runc count. Version 2 has another scale, to which the kubelet maps
// 2..262144 shares linearly as 1..10000, and its cgroups are beside ours. (runc has a formula of its own, for those of containers.)
func weight(millis int64) setting {
	if millis == 0 {
		return setting{v1: entry{"cpu.shares", strconv.Itoa(defaultShares)}, v2: entry{"cpu.weight", strconv.Itoa(defaultWeight)}}
	}
	shares := min(max(millis*defaultShares/1000, minShares), maxShares)
	const lowest, span = 1, 9999
	return setting{
		v1: entry{"cpu.shares", strconv.FormatInt(shares, 10)},
		v2: entry{"cpu.weight", strconv.FormatInt(lowest+(shares-minShares)*span/(maxShares-minShares), 10)},
	}
}

func memory(bytes int64) setting {
	s := setting{v1: entry{"memory.limit_in_bytes", "-1"}, v2: entry{"memory.max", "max"}}
	if bytes > 0 {
		value := strconv.FormatInt(bytes, 10)
		s.v1.value, s.v2.value, s.atMost = value, value, bytes
		s.v1InUse, s.v2InUse = "memory.usage_in_bytes", "memory.current"
	}
	return s
}

// pidsMax is written alike in both versions.
func pidsMax(most int64) setting {
	value := "max"
	if most > 0 {
		value = strconv.FormatInt(most, 10)
	}
	return setting{v1: entry{"pids.max", value}, v2: entry{"pids.max", value}}
}

// set writes a setting wherever its file is. One hierarchy must have it. With version 2 its controller has to be given first: that
// is seen to before, so that nobody takes it back, or only where no file is found otherwise.
func set(path string, s setting, hold bool) error {
	for _, enabling := range []bool{hold, true} {
		for _, h := range hierarchies() {
			limit, inUse := s.v1, s.v1InUse
			if h.v2 {
				limit, inUse = s.v2, s.v2InUse
			}
			dir := filepath.Join(h.root, path)
			if enabling && h.v2 {
				controller, _, _ := strings.Cut(limit.file, ".")
				h.enable(path, controller)
			}
			if _, err := os.Stat(filepath.Join(dir, limit.file)); err != nil {
				continue
			}
			if err := fits(filepath.Join(dir, inUse), s.atMost); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, limit.file), []byte(limit.value), 0o644); err != nil {
				return fmt.Errorf("limit of cgroup %s: %w", path, err)
			}
			return nil
		}
	}
	return fmt.Errorf("limit of cgroup %s: this machine has neither %s (cgroup v1) nor %s (v2) there", path, s.v1.file, s.v2.file)
}

// fits asks whether what is in use fits below a limit. The kernel would kill for it with version 2.
func fits(inUseFile string, limit int64) error {
	if limit == 0 {
		return nil
	}
	text, err := os.ReadFile(inUseFile)
	if err != nil {
		return err
	}
	inUse, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return fmt.Errorf("%s: %w", inUseFile, err)
	}
	if inUse > limit {
		return fmt.Errorf("%w: %d bytes, and %d would be allowed", ErrInUse, inUse, limit)
	}
	return nil
}

// enable gives a controller of version 2 to the cgroups from the root down to those in path. Where the controller is bound to a
// hierarchy of version 1, there is none to give, and the limit's file will not be there either.
//
// The cgroup itself needs it for no limit of its own. But what is given at the root is systemd's to take back, which it does,
// with all limits, whenever it loads its units or starts one and none of them asks for that controller; and the kernel refuses to
// take from a cgroup what it gives on.
func (h hierarchy) enable(path, controller string) {
	var down []string
	for dir := path; ; dir = filepath.Dir(dir) {
		down = append(down, dir)
		if dir == "/" || dir == "." {
			break
		}
	}
	for _, dir := range slices.Backward(down) {
		_ = os.WriteFile(filepath.Join(h.root, dir, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
	}
}
