// Package procs accounts for the processes of a cluster that runs on this machine: which program each one is, how much CPU
// time it has used and how much memory is its own.
//
// The idea: everything of a local cluster is below a few cgroups, so that what else runs on the machine is left out. CPU time
// of helpers that live for milliseconds (runc, CNI plugins, iptables) is found in the account of the parent that waited
// for them, which is why a process's time here includes that of its ended children. Memory is the proportional set size:
// a page that several processes map is shared out among them, so that sums are true.
package procs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Programs that are told apart. Those of etcd, Kubernetes and containerd are called by their names.
const (
	Kubelet    = "kubelet"
	KubeProxy  = "kube-proxy"
	KCM        = "kube-controller-manager"
	Scheduler  = "kube-scheduler"
	Containerd = "containerd"
	Agent      = "miniplane agent"
	Manager    = "miniplane manager"
	// NativeShim and MiniShim are containerd's shims, by the containerd namespace of their containers.
	NativeShim = "shims of Pods"
	MiniShim   = "shims of MiniPods"
	// NativePause and MiniPause hold the namespaces of Pods and MiniPods; the latter's program writes the logs of containers too.
	NativePause = "sandboxes of Pods"
	MiniPause   = "sandboxes of MiniPods"
	// Workload is what the measured containers run.
	Workload = "containers"
	Other    = "other"
)

// UserHZ is the unit of CPU times in /proc: 100 a second on every Linux that Go runs on.
const UserHZ = 100

// Process is one process at one moment.
type Process struct {
	PID     int
	Start   uint64 // after the boot, in clock ticks; tells it from a later process of the same number
	Program string
	Args    []string
	// CPUSeconds it has used, with those of ended children that it waited for.
	CPUSeconds float64
}

// Table is all processes of the cluster at one moment.
type Table []Process

// Reader reads the processes below some cgroups.
type Reader struct {
	// Root is /proc.
	Root string
	// Cgroups are paths such as /miniplane-local; a process in or below one of them counts.
	Cgroups []string
	// Workload are the words that the command of a measured container begins with; none when nothing is measured.
	Workload []string
}

// Read returns all processes of the cluster, without this one. One that ends meanwhile is left out.
func (r Reader) Read() (Table, error) {
	entries, err := os.ReadDir(r.Root)
	if err != nil {
		return nil, err
	}
	var table Table
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		p, ok, err := r.process(pid)
		if err != nil {
			return nil, err
		}
		if ok {
			table = append(table, p)
		}
	}
	return table, nil
}

func (r Reader) process(pid int) (p Process, ok bool, err error) {
	dir := filepath.Join(r.Root, strconv.Itoa(pid))
	groups, err := os.ReadFile(filepath.Join(dir, "cgroup"))
	if err != nil || !below(string(groups), r.Cgroups) {
		return p, false, gone(err)
	}
	line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil || len(line) == 0 {
		return p, false, gone(err) // a zombie has no command line
	}
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return p, false, gone(err)
	}
	p.PID = pid
	for arg := range bytes.SplitSeq(bytes.TrimSuffix(line, []byte{0}), []byte{0}) {
		p.Args = append(p.Args, string(arg))
	}
	p.Program = r.program(p.Args)
	p.Start, p.CPUSeconds, err = parseStat(string(stat))
	return p, err == nil, err
}

// gone forgives a process that has ended.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || (err != nil && strings.Contains(err.Error(), "no such process")) {
		return nil
	}
	return err
}

// below tells whether a process with this /proc/PID/cgroup is in one of the groups, in any hierarchy: what a runtime makes
// is in all of them, what the cluster's commands start perhaps in one only.
func below(cgroups string, paths []string) bool {
	for line := range strings.SplitSeq(cgroups, "\n") {
		fields := strings.SplitN(line, ":", 3)
		if len(fields) < 3 {
			continue
		}
		for _, path := range paths {
			if fields[2] == path || strings.HasPrefix(fields[2], path+"/") {
				return true
			}
		}
	}
	return false
}

func (r Reader) program(args []string) string {
	if len(r.Workload) > 0 && len(args) >= len(r.Workload) && slices.Equal(args[:len(r.Workload)], r.Workload) {
		return Workload
	}
	name := filepath.Base(args[0])
	if strings.HasPrefix(name, "pause-") { // as an agent in a Pod installs it
		name = "pause"
	}
	switch name {
	case "etcd", "kube-apiserver", Kubelet, KubeProxy, KCM, Scheduler, Containerd:
		return name
	case "nodeagent":
		return Agent
	case "manager":
		return Manager
	case "sandbox":
		return NativePause
	case "pause":
		return MiniPause
	case "containerd-shim-miniplane-v1":
		return MiniShim
	case "containerd-shim-runc-v2":
		if i := slices.Index(args, "-namespace"); i >= 0 && i+1 < len(args) && args[i+1] == "k8s.io" {
			return NativeShim
		}
		return MiniShim
	}
	return Other
}

// parseStat reads the start time and the CPU time from a line of /proc/PID/stat. The command's name in it may contain
// anything, brackets included, so that fields are counted from its last bracket.
func parseStat(line string) (start uint64, cpuSeconds float64, err error) {
	fields := strings.Fields(line[strings.LastIndex(line, ")")+1:])
	const first, utime, cstime, starttime = 3, 14, 17, 22
	if len(fields) <= starttime-first {
		return 0, 0, fmt.Errorf("not a stat line: %q", line)
	}
	ticks := uint64(0)
	for i := utime; i <= cstime; i++ {
		n, err := strconv.ParseUint(fields[i-first], 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("stat line %q: %w", line, err)
		}
		ticks += n
	}
	start, err = strconv.ParseUint(fields[starttime-first], 10, 64)
	return start, float64(ticks) / UserHZ, err
}

// Of lists the processes of one program.
func (t Table) Of(program string) Table {
	return slices.DeleteFunc(slices.Clone(t), func(p Process) bool { return p.Program != program })
}

// CPUSince is how much CPU time each program has used since an earlier table: by processes that are in both, and by new
// ones from their start.
func (t Table) CPUSince(before Table) map[string]float64 {
	type key struct {
		pid   int
		start uint64
	}
	used := map[key]float64{}
	for _, p := range before {
		used[key{p.PID, p.Start}] = p.CPUSeconds
	}
	out := map[string]float64{}
	for _, p := range t {
		out[p.Program] += p.CPUSeconds - used[key{p.PID, p.Start}]
	}
	return out
}

// Life tells when a process began, in clock ticks after the boot, if it lives: one that ended and was not waited for does not.
func (r Reader) Life(pid int) (start uint64, lives bool) {
	data, err := os.ReadFile(filepath.Join(r.Root, strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, false
	}
	line := string(data)
	if state := strings.Fields(line[strings.LastIndex(line, ")")+1:]); len(state) == 0 || state[0] == "Z" || state[0] == "X" {
		return 0, false
	}
	start, _, err = parseStat(line)
	return start, err == nil
}
