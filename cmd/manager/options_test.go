package main

import (
	"flag"
	"io"
	"strings"
	"testing"
	"time"

	"miniplane.dev/miniplane/controllers/node"
	"miniplane.dev/miniplane/internal/nodelife"
)

func TestOptions(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string // part of the error; "" means valid
	}{
		"defaults":            {nil, ""},
		"overlap":             {[]string{"--service-cidr=100.64.0.0/16"}, "overlap: choose separate ranges"},
		"bits outside":        {[]string{"--pod-cidr=100.64.1.0/11"}, "did you mean 100.64.0.0/11?"},
		"IPv6":                {[]string{"--service-cidr=fd00::/64"}, "must be an IPv4 range"},
		"node range too wide": {[]string{"--node-cidr-mask-size=8"}, "must lie between 11"},
		"impatient":           {[]string{"--node-grace-period=1s"}, "must be at least 2s"},
		"ports":               {[]string{"--node-port-range=31000-31999"}, ""},
		"reserved ports":      {[]string{"--reserved-host-ports=22,6443,10248-10259"}, ""},
		"reserved nonsense":   {[]string{"--reserved-host-ports=22,ssh"}, "is not a range of ports"},
		"ports upside down":   {[]string{"--node-port-range=2-1"}, "is not a range of ports"},
		"weights":             {[]string{"--score-weights=Spread=5,LeastRequested=0"}, ""},
		"unknown score":       {[]string{"--score-weights=Speed=5"}, `there is no score "Speed"; there are LeastRequested`},
		"weight too high":     {[]string{"--score-weights=Spread=5000"}, "must be 0 to 1000"},
		"weight missing":      {[]string{"--score-weights=Spread"}, `"Spread": want each score once, as Spread=5`},
		"weight twice":        {[]string{"--score-weights=Spread=1,Spread=2"}, "want each score once"},
		"negative wait":       {[]string{"--pod-eviction-wait=-1s"}, "must be more than 0"},
		"no absence":          {[]string{"--agent-absence=0s"}, "must be more than 0"},
		"absence too short":   {[]string{"--agent-absence=30s", "--pod-eviction-wait=1m"}, "make --agent-absence 1m0s or more"},
		"wait too long":       {[]string{"--pod-eviction-wait=10m"}, "--agent-absence 5m0s is shorter than --pod-eviction-wait 10m0s"},
		"absence as the wait": {[]string{"--agent-absence=1m", "--pod-eviction-wait=1m"}, ""},
		"negative rate":       {[]string{"--node-eviction-rate=-1"}, "--node-eviction-rate -1: must lie between 0"},
		"no evictions":        {[]string{"--node-eviction-rate=0", "--secondary-node-eviction-rate=0"}, ""},
		"share of more":       {[]string{"--unhealthy-zone-threshold=55"}, "must be more than 0 and at most 1"},
		"negative size":       {[]string{"--large-cluster-size-threshold=-1"}, "must not be negative"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			o := defaults()
			flags := flag.NewFlagSet("manager", flag.ContinueOnError)
			flags.SetOutput(io.Discard)
			o.bind(flags)
			err := flags.Parse(tc.args)
			if err == nil {
				err = o.validate()
			}
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want it to contain %q", err, tc.want)
			}
		})
	}
}

// What the flags' names mean to Kubernetes' own controller, they mean here.
func TestBrakeFlags(t *testing.T) {
	o := defaults()
	flags := flag.NewFlagSet("manager", flag.ContinueOnError)
	o.bind(flags)
	if got := o.controllers().Brake; got != node.DefaultBrake {
		t.Errorf("the flags' defaults are %+v, the controller's %+v", got, node.DefaultBrake)
	}
	if err := flags.Parse([]string{"--node-eviction-rate=2", "--secondary-node-eviction-rate=0", "--unhealthy-zone-threshold=0.333",
		"--large-cluster-size-threshold=7", "--agent-absence=10m"}); err != nil {
		t.Fatal(err)
	}
	want := nodelife.Brake{Every: 500 * time.Millisecond, EverySlow: 0, Unhealthy: 333, Large: 7}
	if got := o.controllers(); got.Brake != want || got.AgentAbsence != 10*time.Minute {
		t.Errorf("%+v, want %+v; absence %v", got.Brake, want, got.AgentAbsence)
	}
}
