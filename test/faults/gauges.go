package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netns"

	"miniplane.dev/miniplane/nodeagent/thread"
)

// agentHealth is where an agent tells of itself, in its node's network.
const agentHealth = "127.0.0.1:10350"

// exact are the agent's gauges of what it has of MiniPods, which are the same for the same MiniPods.
var exact = []string{"miniplane_agent_pods", "miniplane_agent_probed_containers", "miniplane_agent_pulls_waiting"}

// loose are those of what it also has for itself, and by how much they may come to be more: a program at rest has some that come and go.
var loose = map[string]float64{"go_goroutines": 40, "process_open_fds": 20}

// gauges are what the agent of a node tells of itself, by name; those with labels are left out.
func (w *world) gauges(node string) (map[string]float64, error) {
	var text []byte
	err := thread.Spend(func() error {
		there, err := netns.GetFromName(node)
		if err != nil {
			return err
		}
		defer func() { _ = there.Close() }()
		if err := netns.Set(there); err != nil {
			return err
		}
		conn, err := net.DialTimeout("tcp4", agentHealth, answerTime)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // on a busy machine, and much longer than it takes
		if _, err := io.WriteString(conn, "GET /metrics HTTP/1.0\r\n\r\n"); err != nil {
			return err
		}
		text, err = io.ReadAll(conn)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("asking the agent of %s: %w", node, err)
	}
	return parseGauges(string(text)), nil
}

func parseGauges(text string) map[string]float64 {
	out := map[string]float64{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			if n, err := strconv.ParseFloat(value, 64); err == nil {
				out[name] = n
			}
		}
	}
	return out
}

// more lists what the agents have more of than before: goroutines, descriptors, probes that go on.
func more(node string, before, after map[string]float64) (out []string) {
	for _, name := range exact {
		if after[name] > before[name] {
			out = append(out, fmt.Sprintf("%s: %s is %g, and was %g", node, name, after[name], before[name]))
		}
	}
	for name, most := range loose {
		if after[name] > before[name]+most {
			out = append(out, fmt.Sprintf("%s: %s is %g, and was %g", node, name, after[name], before[name]))
		}
	}
	return out
}

// inventory is all that there is of MiniPods at a moment.
type inventory struct {
	things []string
	gauges map[string]map[string]float64
}

func (w *world) inventory(ctx context.Context) (inventory, error) {
	out := inventory{gauges: map[string]map[string]float64{}}
	var err error
	if out.things, err = w.things(ctx); err != nil {
		return out, err
	}
	for _, node := range w.nodes {
		if out.gauges[node], err = w.gauges(node); err != nil {
			return out, err
		}
	}
	return out, nil
}
