package nodeagent

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/resource"

	"miniplane.dev/miniplane/nodeagent/iptables"
)

func TestValidate(t *testing.T) {
	good := DefaultOptions()
	good.NodeName, good.NodeIP = "n", netip.MustParseAddr("10.0.0.1")
	if err := good.Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for want, change := range map[string]func(*Options){
		"--node-name":                           func(o *Options) { o.NodeName = "" },
		"--node-ip":                             func(o *Options) { o.NodeIP = netip.MustParseAddr("::1") },
		"without bits outside":                  func(o *Options) { o.PodCIDR = netip.MustParsePrefix("10.0.0.1/8") },
		"overlap":                               func(o *Options) { o.ServiceCIDR = netip.MustParsePrefix("100.64.0.0/16") },
		"--state-dir":                           func(o *Options) { o.StateDir = "relative" },
		"--root-dir":                            func(o *Options) { o.RootDir = "/" },
		"--cgroup-parent":                       func(o *Options) { o.CgroupParent = "" },
		"--max-pods":                            func(o *Options) { o.MaxPods = 0 },
		"must not be negative":                  func(o *Options) { o.CPU = resource.MustParse("-1") },
		"--max-parallel-image-pulls 0":          func(o *Options) { o.ParallelPulls = 0 },
		"--max-parallel-image-pulls -1":         func(o *Options) { o.ParallelPulls = -1 },
		"--image-pull-progress-deadline 0s":     func(o *Options) { o.PullDeadline = 0 },
		"--image-pull-progress-deadline -1m0s":  func(o *Options) { o.PullDeadline = -time.Minute },
		"--image-pull-progress-deadline 10ms: ": func(o *Options) { o.PullDeadline = 10 * time.Millisecond },
		"--resync-period 0s":                    func(o *Options) { o.Resync = 0 },
		"--cluster-dns [fd00::a]":               func(o *Options) { o.ClusterDNS = []netip.Addr{netip.MustParseAddr("fd00::a")} },
		"--cluster-domain \"\"":                 func(o *Options) { o.ClusterDomain = "" },
		"--cluster-domain \"cluster.local.\"":   func(o *Options) { o.ClusterDomain = "cluster.local." },
		"--service-cidr invalid Pref":           func(o *Options) { o.ServiceCIDR = netip.Prefix{} },
	} {
		o := good
		change(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in %v", want, err)
		}
	}
}

func TestCheckMachineSaysWhatToDo(t *testing.T) {
	o := DefaultOptions()
	o.ContainerdAddress, o.PauseBinary = filepath.Join(t.TempDir(), "none"), filepath.Join(t.TempDir(), "none")
	err := o.CheckMachine(true)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"--containerd-address", "--pause-binary"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in %v", want, err)
		}
	}
}

func TestHost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meminfo")
	for text, want := range map[string]int64{"MemTotal:   1024 kB\nMemFree: 1 kB\n": 1 << 20, "MemFree: 1 kB\n": 0} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, _ := memoryTotal(path); got != want {
			t.Errorf("%q: %d", text, got)
		}
	}
	o := DefaultOptions()
	o.CPU, o.Memory = resource.MustParse("500m"), resource.MustParse("1Gi")
	capacity, allocatable := host{cpus: 4, memory: 8 << 30}.capacity(&o)
	if capacity.Cpu().String() != "4" || capacity.Memory().String() != "8Gi" || allocatable.Cpu().String() != "500m" || allocatable.Memory().String() != "1Gi" {
		t.Errorf("%v %v", capacity, allocatable)
	}
}

type fakeParts struct{ runtime, tables error }

func (f fakeParts) Version(context.Context) (string, error)               { return "", f.runtime }
func (f fakeParts) Intact(context.Context, []iptables.Rule) (bool, error) { return true, f.tables }

func TestChecker(t *testing.T) {
	for want, parts := range map[string]fakeParts{
		"": {}, "containerd does not answer": {runtime: errors.New("x")}, "iptables does not work": {tables: errors.New("x")},
	} {
		c := checker{runtime: parts, tables: parts}
		for range 2 {
			if err := c.check(t.Context()); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("want %q: %v", want, err)
			}
		}
	}
}

func TestPartsEndTogether(t *testing.T) {
	p := newParts(context.Background())
	ended := make(chan struct{})
	p.run("other", func(ctx context.Context) error { <-ctx.Done(); close(ended); return ctx.Err() })
	p.run("broken", func(context.Context) error { return errors.New("no luck") })
	if err := p.wait(); err == nil || err.Error() != "broken: no luck" {
		t.Errorf("got %v", err)
	}
	<-ended
}

// A clean-up removes all that is in the agent's directories: those that cannot be the agent's own are refused first.
func TestCleanupOfPathsThatAreNotItsOwn(t *testing.T) {
	t.Chdir(t.TempDir())
	for want, change := range map[string]func(*Options){
		"--state-dir":                 func(o *Options) { o.StateDir = "state" },
		"--root-dir":                  func(o *Options) { o.RootDir = "root" },
		`--state-dir "//run/"`:        func(o *Options) { o.StateDir = "//run/" },
		`--cgroup-parent "/kubepods"`: func(o *Options) { o.CgroupParent = "/kubepods" },
		"--cgroup-parent":             func(o *Options) { o.CgroupParent = "cgroup" },
	} {
		o := Options{StateDir: filepath.Join(t.TempDir(), "state"), RootDir: filepath.Join(t.TempDir(), "root"), CgroupParent: "/mini-test-none"}
		o.ContainerdAddress = filepath.Join(t.TempDir(), "none")
		change(&o)
		if err := Cleanup(t.Context(), o, logr.Discard()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in %v", want, err)
		}
	}
}
