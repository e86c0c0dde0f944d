package nodeagent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/resource"

	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
)

func TestCheckBudget(t *testing.T) {
	machine := host{cpus: 2, memory: 4 << 30, pids: 32768}
	for name, tc := range map[string]struct {
		cpu, memory string
		pids        int64
		want        []string // parts of the error; none: no error
	}{
		"all":        {"0", "0", 0, nil},
		"a part":     {"500m", "1Gi", 1000, nil},
		"everything": {"2", "4Gi", 32768, nil},
		"too much":   {"2001m", "5Gi", 32769, []string{"--pids 32769: this machine has 32768", "--cpu 2001m: this machine has 2", "--memory 5Gi: this machine has 4294967296 bytes", "ask for less"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{CPU: resource.MustParse(tc.cpu), Memory: resource.MustParse(tc.memory), PIDs: tc.pids}
			err := machine.checkBudget(&o)
			if (err != nil) != (len(tc.want) > 0) {
				t.Fatalf("error %v, want one with %q", err, tc.want)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
		})
	}
}

// The budget is set at the start, and again after a failure.
func TestKeepBudget(t *testing.T) {
	set := make(chan cgroup.Limits)
	a := &agent{log: logr.Discard(), host: host{pids: 32768}, machine: &Machine{SetBudget: func(l cgroup.Limits) error {
		set <- l
		return errors.New("in use")
	}}}
	a.opts.CPU, a.opts.Memory, a.opts.Resync = resource.MustParse("1500m"), resource.MustParse("1Gi"), time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); a.keepBudget(ctx) }()
	want := cgroup.Limits{CPUMillis: 1500, MemoryBytes: 1 << 30, PIDs: 24576}
	for range 2 {
		if got := <-set; got != want {
			t.Errorf("set %+v, want %+v", got, want)
		}
	}
	cancel()
	for {
		select {
		case <-set:
			continue
		case <-ended:
			return
		}
	}
}
