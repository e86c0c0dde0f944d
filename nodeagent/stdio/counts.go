package stdio

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Counts are what an owner counted since it began.
type Counts struct {
	// Rotations are how often the log was put aside, LostBytes what could not be written.
	Rotations, LostBytes uint64
}

func (c Counts) plus(o Counts) Counts {
	return Counts{Rotations: c.Rotations + o.Rotations, LostBytes: c.LostBytes + o.LostBytes}
}

// ReadCounts reads what the owner with that socket counted: nothing, mostly, and then there is no file.
func ReadCounts(socket string) Counts {
	text, err := os.ReadFile(socket + ".stat")
	if err != nil || len(text) > 64 {
		return Counts{}
	}
	return parseCounts(string(text))
}

func parseCounts(text string) Counts {
	var out Counts
	rotations, lost, _ := strings.Cut(strings.TrimSuffix(text, "\n"), " ")
	var err error
	if out.Rotations, err = strconv.ParseUint(rotations, 10, 64); err != nil {
		return Counts{}
	}
	if out.LostBytes, err = strconv.ParseUint(lost, 10, 64); err != nil {
		return Counts{}
	}
	return out
}

// Counter adds up the counts of all owners of a machine, whose sockets are at PATTERN, for Prometheus. Owners that are gone
// stay counted when Gone was told of them.
type Counter struct {
	pattern string
	mu      sync.Mutex
	gone    Counts
}

var (
	rotationsDesc = prometheus.NewDesc("miniplane_log_rotations_total", "Logs of containers that were put aside because they were full.", nil, nil)
	lostDesc      = prometheus.NewDesc("miniplane_log_lost_bytes_total", "Output of containers that could not be written to their logs.", nil, nil)
)

// NewCounter counts the owners whose sockets a glob finds.
func NewCounter(pattern string) *Counter { return &Counter{pattern: pattern} }

// Gone tells that an owner's files were removed, and what they said before.
func (c *Counter) Gone(counts Counts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = c.gone.plus(counts)
}

// Describe implements prometheus.Collector.
func (c *Counter) Describe(out chan<- *prometheus.Desc) { out <- rotationsDesc; out <- lostDesc }

// Collect implements prometheus.Collector.
func (c *Counter) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	sum := c.gone
	c.mu.Unlock()
	files, _ := filepath.Glob(c.pattern + ".stat") // the pattern is a constant of the agent's
	for _, file := range files {
		sum = sum.plus(ReadCounts(strings.TrimSuffix(file, ".stat")))
	}
	out <- prometheus.MustNewConstMetric(rotationsDesc, prometheus.CounterValue, float64(sum.Rotations))
	out <- prometheus.MustNewConstMetric(lostDesc, prometheus.CounterValue, float64(sum.LostBytes))
}
