package main

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"miniplane.dev/miniplane/controllers"
	"miniplane.dev/miniplane/internal/ipam"
	"miniplane.dev/miniplane/internal/sched"
)

// options are the manager's flags.
type options struct {
	serviceCIDR, podCIDR netip.Prefix
	nodeCIDRMaskSize     int
	nodePorts            ipam.PortRange
	nodeGracePeriod      time.Duration
	podEvictionWait      time.Duration
	agentAbsence         time.Duration
	brake                brake
	drainMarkers         bool
	scoreWeights         map[string]int64
	reservedHostPorts    []ipam.PortRange
	leaderElect          bool
	leaderElectNamespace string
	metricsAddress       string
	healthAddress        string
	uninstall            bool
}

func defaults() options {
	return options{
		serviceCIDR:          netip.MustParsePrefix("100.96.0.0/16"),
		podCIDR:              netip.MustParsePrefix("100.64.0.0/11"),
		nodeCIDRMaskSize:     22,
		nodePorts:            ipam.PortRange{First: 30000, Last: 32767},
		reservedHostPorts:    reserved(22, 2379, 2380, 6443, 8473, 10248, 10249, 10250, 10255, 10256, 10257, 10259, 10350),
		nodeGracePeriod:      16 * time.Second, // four beats of an agent: one lost packet is no silence
		podEvictionWait:      20 * time.Second, // a machine that boots again or a link that flaps is back by then
		agentAbsence:         5 * time.Minute,  // a pull during an upgrade, or an operator who mends it
		brake:                brake{rate: 0.1, secondaryRate: 0.01, unhealthy: 0.55, large: 50},
		drainMarkers:         true,
		leaderElectNamespace: "miniplane-system",
		metricsAddress:       "127.0.0.1:8080",
		healthAddress:        "127.0.0.1:8081",
	}
}

func (o *options) bind(flags *flag.FlagSet) {
	flags.TextVar(&o.serviceCIDR, "service-cidr", o.serviceCIDR, "range of the virtual IPs of MiniServices; the agents need the same")
	flags.TextVar(&o.podCIDR, "pod-cidr", o.podCIDR, "range of the addresses of all MiniPods; the agents need the same")
	flags.IntVar(&o.nodeCIDRMaskSize, "node-cidr-mask-size", o.nodeCIDRMaskSize, "size of the part of pod-cidr that each node gets, as the length of its prefix")
	flags.Func("node-port-range", "node ports that may be given to MiniServices, both ends included (default "+o.nodePorts.String()+")", func(text string) (err error) {
		o.nodePorts, err = ipam.ParsePortRange(text)
		return err
	})
	flags.DurationVar(&o.nodeGracePeriod, "node-grace-period", o.nodeGracePeriod, "how long a node's agent, or its kubelet, may be silent before it counts as such")
	flags.DurationVar(&o.podEvictionWait, "pod-eviction-wait", o.podEvictionWait, "how long agent and kubelet of a node may both count as silent before its MiniPods are replaced elsewhere")
	flags.DurationVar(&o.agentAbsence, "agent-absence", o.agentAbsence, "how long an agent may count as silent, while its node's kubelet is heard, before the node's MiniPods are replaced elsewhere; at least --pod-eviction-wait")
	o.brake.bind(flags)
	flags.BoolVar(&o.drainMarkers, "drain-markers", o.drainMarkers, "keep a finished Pod for each node, whose eviction makes kubectl drain move the node's MiniPods and wait for them")
	flags.Func("score-weights", "how much each score of the scheduler counts, as LeastRequested=1,Spread=2,PreferNoSchedule=3,NodeAffinity=2,PodAffinity=2,TopologySpread=2 (the defaults); 0 switches one off", func(text string) (err error) {
		o.scoreWeights, err = parseWeights(text)
		return err
	})
	flags.Func("reserved-host-ports", "ports of nodes that no MiniPod may open besides those of --node-port-range, as 22,6443,10248-10259 (default "+portList(o.reservedHostPorts)+")", func(text string) (err error) {
		o.reservedHostPorts, err = parsePorts(text)
		return err
	})
	flags.BoolVar(&o.leaderElect, "leader-elect", o.leaderElect, "run only while holding a Lease, so that several managers can stand by")
	flags.StringVar(&o.leaderElectNamespace, "leader-elect-namespace", o.leaderElectNamespace, "namespace of that Lease")
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", o.metricsAddress, "address of /metrics; 0 turns it off")
	flags.BoolVar(&o.uninstall, "uninstall", o.uninstall, "delete all objects of miniplane in all namespaces, wait until the agents have let go of them, and exit")
	flags.StringVar(&o.healthAddress, "health-probe-bind-address", o.healthAddress, "address of /healthz and /readyz")
}

// validate finds what the flags' own types cannot: every mistake at once, each with what to do.
func (o *options) validate() error {
	var errs []error
	for name, prefix := range map[string]netip.Prefix{"service-cidr": o.serviceCIDR, "pod-cidr": o.podCIDR} {
		if !prefix.Addr().Is4() {
			errs = append(errs, fmt.Errorf("--%s %s: must be an IPv4 range such as 100.96.0.0/16", name, prefix))
		}
		if prefix != prefix.Masked() {
			errs = append(errs, fmt.Errorf("--%s %s: has bits outside its prefix; did you mean %s?", name, prefix, prefix.Masked()))
		}
	}
	if o.serviceCIDR.Overlaps(o.podCIDR) {
		errs = append(errs, fmt.Errorf("--service-cidr %s and --pod-cidr %s overlap: choose separate ranges", o.serviceCIDR, o.podCIDR))
	}
	if o.nodeCIDRMaskSize < o.podCIDR.Bits() || o.nodeCIDRMaskSize > 30 {
		errs = append(errs, fmt.Errorf("--node-cidr-mask-size %d: must lie between %d (the whole of --pod-cidr) and 30", o.nodeCIDRMaskSize, o.podCIDR.Bits()))
	}
	if o.nodeGracePeriod < 2*time.Second {
		errs = append(errs, fmt.Errorf("--node-grace-period %s: must be at least 2s; agents report every 4s by default", o.nodeGracePeriod))
	}
	if o.podEvictionWait <= 0 {
		errs = append(errs, fmt.Errorf("--pod-eviction-wait %s: must be more than 0", o.podEvictionWait))
	}
	if _, err := sched.DefaultProfile(o.scoreWeights); err != nil {
		errs = append(errs, fmt.Errorf("--score-weights: %w", err))
	}
	if o.agentAbsence <= 0 {
		errs = append(errs, fmt.Errorf("--agent-absence %s: must be more than 0", o.agentAbsence))
	}
	if o.agentAbsence < o.podEvictionWait {
		errs = append(errs, fmt.Errorf("--agent-absence %s is shorter than --pod-eviction-wait %s: containers that run on would be replaced sooner than those of "+
			"a lost node; make --agent-absence %s or more, or --pod-eviction-wait shorter", o.agentAbsence, o.podEvictionWait, o.podEvictionWait))
	}
	errs = append(errs, o.brake.validate()...)
	return errors.Join(errs...)
}

// parseWeights reads weights as a list of name=weight.
func parseWeights(text string) (map[string]int64, error) {
	weights := map[string]int64{}
	for pair := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(pair, "=")
		weight, err := strconv.ParseInt(value, 10, 64)
		if _, twice := weights[name]; err != nil || twice {
			return nil, fmt.Errorf("%q: want each score once, as Spread=5", pair)
		}
		weights[name] = weight
	}
	return weights, nil
}

// controllers are the options that concern the controllers, once they are valid.
func (o *options) controllers() controllers.Options {
	return controllers.Options{
		ServiceCIDR: o.serviceCIDR, PodCIDR: o.podCIDR, NodeMaskBits: o.nodeCIDRMaskSize, NodePorts: o.nodePorts,
		NodeGracePeriod: o.nodeGracePeriod, EvictionWait: o.podEvictionWait, AgentAbsence: o.agentAbsence, Brake: o.brake.brake(),
		NoDrainMarkers: !o.drainMarkers, ScoreWeights: o.scoreWeights, ReservedPorts: o.reservedHostPorts,
	}
}
