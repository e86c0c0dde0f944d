package proxy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/iptables"
)

// Options of a Proxier.
type Options struct {
	Config
	Tables iptables.Tables
	// Former are other tables, in which an earlier agent may have left rules, or nil. They are cleaned when the rules stand in Tables.
	Former iptables.Tables
	Flows  Flows
	Log    logr.Logger
	// CheckPeriod is how often to look whether the rules are still there; 2 s if zero.
	CheckPeriod time.Duration
	// RewritePeriod is how often to write all rules whether or not something seems to be wrong; 1 h if zero.
	RewritePeriod time.Duration
}

const (
	defaultCheckPeriod   = 2 * time.Second // as long as flushed rules may be away; a look costs a millisecond
	defaultRewritePeriod = time.Hour       // for changes within a chain, which nobody looks at
	// The waits after a failure to write the rules, doubled with each.
	firstRetry   = 100 * time.Millisecond
	longestRetry = 10 * time.Second
)

// Proxier keeps the rules of a node what the services and host ports say. Its setters note a change and return at once;
// Run applies what has gathered, and while it does, the next changes gather. The objects must not be changed after.
type Proxier struct {
	opts  Options
	state *state
	rules *ruleset
	seen  map[string]Service // what the rules were made from, by name

	rewrite   bool // write all chains, and remove those that are not known
	rewritten time.Time
	stale     *staleUDP
	synced    atomic.Pointer[time.Time]
}

// New makes a Proxier. It touches nothing before Run or Sync.
func New(opts Options) *Proxier {
	if opts.CheckPeriod == 0 {
		opts.CheckPeriod = defaultCheckPeriod
	}
	if opts.RewritePeriod == 0 {
		opts.RewritePeriod = defaultRewritePeriod
	}
	return &Proxier{
		opts: opts, state: newState(), rules: newRuleset(opts.Config), seen: map[string]Service{},
		rewrite: true, stale: newStaleUDP(opts.Config),
	}
}

// SetService adds or replaces a service.
func (p *Proxier) SetService(service *miniv1.MiniService) {
	p.state.setService(types.NamespacedName{Namespace: service.Namespace, Name: service.Name}, service)
}

// DeleteService removes a service.
func (p *Proxier) DeleteService(name types.NamespacedName) { p.state.setService(name, nil) }

// SetEndpointSlice adds or replaces a slice. One without the label of a MiniService is none of ours.
func (p *Proxier) SetEndpointSlice(slice *discoveryv1.EndpointSlice) { p.state.setSlice(slice, true) }

// DeleteEndpointSlice removes a slice.
func (p *Proxier) DeleteEndpointSlice(slice *discoveryv1.EndpointSlice) {
	p.state.setSlice(slice, false)
}

// SetHostPorts replaces the host ports of one of the node's MiniPods; none removes them.
func (p *Proxier) SetHostPorts(podUID string, ports []HostPort) { p.state.setHostPorts(podUID, ports) }

// SetPeers replaces all peers. Set them before Run, for what comes from others is dropped.
func (p *Proxier) SetPeers(peers []Peer) { p.state.setPeers(peers) }

// LastSync tells when the rules were last brought up to date; zero if never.
func (p *Proxier) LastSync() time.Time {
	if at := p.synced.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// Run applies changes as they come, until ctx ends. Start it only when everything that exists has been set once, because
// rules of an earlier agent that seem to belong to nobody are removed by the first pass. The rules stay when it ends. It
// works on the calling goroutine alone, whose thread may be bound to a network namespace.
func (p *Proxier) Run(ctx context.Context) {
	check := time.NewTicker(p.opts.CheckPeriod)
	defer check.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	delay := firstRetry
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.state.wake:
		case <-retry.C:
		case <-check.C:
			p.check(ctx)
			if !p.rewrite {
				continue
			}
		}
		if err := p.Sync(ctx); err != nil && ctx.Err() == nil {
			syncFailures.Inc()
			p.opts.Log.Error(err, "Rules could not be applied; trying again", "after", delay.String())
			retry.Reset(delay)
			delay = min(2*delay, longestRetry)
			continue
		}
		delay = firstRetry
	}
}

// check looks whether somebody flushed the rules.
func (p *Proxier) check(ctx context.Context) {
	if p.rewrite {
		return
	}
	intact, err := p.opts.Tables.Intact(ctx, canaries(p.opts.Config))
	switch {
	case err != nil:
		p.opts.Log.Error(err, "Could not look whether the rules are still there")
	case !intact:
		rulesRestored.Inc()
		p.opts.Log.Info("Rules are missing, perhaps flushed by somebody; writing all of them again")
		p.rewrite = true
	case time.Since(p.rewritten) > p.opts.RewritePeriod:
		p.rewrite = true
	}
}

// Sync applies what has gathered, in one go. After an error nothing is taken for granted: the next pass writes all rules.
func (p *Proxier) Sync(ctx context.Context) error {
	p.gather()
	if p.rewrite {
		p.rules.forget()
	}
	changes := p.rules.changes()
	started := time.Now()
	if err := p.apply(ctx, changes); err != nil {
		p.rewrite = true
		return err
	}
	if !changes.empty() {
		syncSeconds.Observe(time.Since(started).Seconds())
		p.opts.Log.V(1).Info("Rules applied", "chains", len(changes.set), "removed", len(changes.removed),
			"all", p.rewrite, "took", time.Since(started).String())
	}
	p.rewrite = false
	if !p.stale.empty() {
		if err := p.opts.Flows.DeleteUDP(ctx, p.stale.match); err != nil {
			return err // p.stale remembers
		}
		p.stale = newStaleUDP(p.opts.Config)
	}
	now := time.Now()
	p.synced.Store(&now)
	return nil
}

// gather brings the desired rules up to date with the state.
func (p *Proxier) gather() {
	services, hostPorts, peers := p.state.take()
	for name, peer := range peers {
		p.rules.set("peer/"+name, p.rules.peer(peer))
	}
	for _, s := range services {
		p.stale.note(p.seen[s.Name], s)
		p.rules.set("service/"+s.Name, p.rules.service(s))
		p.seen[s.Name] = s
		if len(s.Ports) == 0 {
			delete(p.seen, s.Name)
		}
	}
	for uid, ports := range hostPorts {
		p.stale.noteHostPorts(ports)
		p.rules.set(hostPortOwner(uid), p.rules.hostPorts(ports))
	}
}

// apply writes the changes, and when all is to be written sees to the jumps first and to unknown chains last.
func (p *Proxier) apply(ctx context.Context, changes change) error {
	var before map[string][]string
	if p.rewrite {
		var err error
		if before, err = p.ensureJumps(ctx); err != nil {
			return fmt.Errorf("proxy: %w", err)
		}
	}
	if !changes.empty() {
		for _, input := range changes.inputs(p.opts.Tables.BatchSize()) {
			if err := p.opts.Tables.Restore(ctx, input); err != nil {
				return fmt.Errorf("proxy: applying rules: %w", err)
			}
		}
	}
	p.rules.commit(changes)
	if !p.rewrite {
		return nil
	}
	p.rewritten = time.Now()
	p.removeFormer(ctx)
	return p.removeUnknown(ctx, before)
}

// removeFormer removes the rules that an earlier agent left in the other tables, once. No packet met a gap: they say the same. Where it
// fails they stay until all is written the next time.
func (p *Proxier) removeFormer(ctx context.Context) {
	if p.opts.Former == nil {
		return
	}
	if err := p.opts.Former.Cleanup(ctx); err != nil {
		p.opts.Log.Error(err, "Could not remove what an earlier agent left in the other kind of iptables")
		return
	}
	p.opts.Former = nil
}

// ensureJumps makes what is missing of the jumps and of the chains that they lead to. It does so while the tables are
// small, for with legacy iptables every rule costs the reading and writing of its whole table. It tells which chains were
// there if it had to look.
func (p *Proxier) ensureJumps(ctx context.Context) (map[string][]string, error) {
	intact, err := p.opts.Tables.Intact(ctx, allJumps())
	if err != nil {
		return nil, err
	}
	if intact {
		return nil, p.opts.Tables.EnsureLast(ctx, lastJumps) // others may have come to stand behind them
	}
	before, err := p.chains(ctx)
	if err != nil {
		return nil, err
	}
	var missing []chainContent
	for _, jump := range allJumps() {
		name := strings.TrimPrefix(jump.Spec, "-j ")
		id := chainID{jump.Table, name}
		known := slices.ContainsFunc(missing, func(c chainContent) bool { return c.id == id })
		if !known && !slices.Contains(before[jump.Table], name) {
			missing = append(missing, chainContent{id: id})
		}
	}
	if len(missing) > 0 {
		if err := p.opts.Tables.Restore(ctx, input(missing, nil)); err != nil {
			return nil, err
		}
	}
	if err := p.opts.Tables.EnsureFirst(ctx, jumps); err != nil {
		return nil, err
	}
	return before, p.opts.Tables.EnsureLast(ctx, lastJumps)
}

func (p *Proxier) chains(ctx context.Context) (map[string][]string, error) {
	out := map[string][]string{}
	for _, table := range iptables.AllTables {
		var err error
		if out[table], err = p.opts.Tables.Chains(ctx, table); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// removeUnknown removes the chains of an earlier agent that nothing leads to any more. It looks which there are unless it
// is told.
func (p *Proxier) removeUnknown(ctx context.Context, there map[string][]string) error {
	if there == nil {
		var err error
		if there, err = p.chains(ctx); err != nil {
			return fmt.Errorf("proxy: %w", err)
		}
	}
	for table, chains := range there {
		unknown := slices.DeleteFunc(chains, func(name string) bool {
			_, known := p.rules.applied[chainID{table, name}]
			return known
		})
		if len(unknown) == 0 {
			continue
		}
		if err := p.opts.Tables.Restore(ctx, iptables.Removal(table, unknown)); err != nil {
			return fmt.Errorf("proxy: removing chains that are not known: %w", err)
		}
	}
	return nil
}
