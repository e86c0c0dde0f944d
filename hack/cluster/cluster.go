//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Cluster is the local cluster of one clone, running or not.
type Cluster struct {
	Layout
	report    *Report
	processes Processes
	assets    string // directory of the outside programs
	without   map[string]bool
	full      bool     // the running or starting cluster is a full one
	limits    string   // see State.Limits
	shim      string   // see State.Shim
	whole     []string // see State.Whole
}

// State is what is remembered of a cluster while it exists. It is written before anything else is made.
type State struct {
	Root    string    `json:"root"`
	Nodes   int       `json:"nodes"`
	Started time.Time `json:"started"`
	// Stopped are nodes that were switched off on purpose.
	Stopped []string `json:"stopped,omitempty"`
	// MadeDirs are the shared directories that were not there before.
	MadeDirs []string `json:"madeDirs,omitempty"`

	// Mode is empty, or full for a cluster with all of Kubernetes.
	Mode string `json:"mode,omitempty"`
	// Limits of a full cluster's own parts towards the API server: default or raised.
	Limits string `json:"limits,omitempty"`
	// Shim is whose shim the agents use: our own, or runc's.
	Shim string `json:"shim,omitempty"`
	// Whole are directories of the machine that only a full cluster filled: they go with all that is in them.
	Whole []string `json:"whole,omitempty"`
	// Sysctls are the machine's settings that a kubelet changes, as they were.
	Sysctls map[string]string `json:"sysctls,omitempty"`
}

// sharedDirs are the machine's, made by whoever needs them first: ours for the names of network namespaces, and the one
// that runc's shim uses without being asked.
var sharedDirs = []string{netnsDir, stockDir}

func missingDirs(dirs []string) []string {
	return slices.DeleteFunc(slices.Clone(dirs), func(dir string) bool {
		_, err := os.Stat(dir)
		return err == nil
	})
}

func newCluster(l Layout, report *Report) *Cluster {
	return &Cluster{Layout: l, report: report, processes: newProcesses(l), without: map[string]bool{}}
}

func (c *Cluster) stateFile() string { return filepath.Join(c.RunDir(), "state.json") }

// readState returns the state, or nil when there is no cluster.
func (c *Cluster) readState() (*State, error) {
	data, err := os.ReadFile(c.stateFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s State
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", c.stateFile(), err)
	}
	c.full, c.whole, c.limits, c.shim = s.Mode == modeFull, s.Whole, s.Limits, s.Shim
	return &s, nil
}

func (c *Cluster) writeState(s *State) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return writeWhole(c.stateFile(), append(data, '\n'), 0o644)
}

// running returns the state of this clone's cluster, or an error that says how to get one.
func (c *Cluster) running() (*State, error) {
	s, err := c.readState()
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, errors.New("no local cluster is running; start one with: make cluster-up")
	}
	return s, c.ours(s)
}

// ours fails when the cluster was started from another clone, unless that clone is gone.
func (c *Cluster) ours(s *State) error {
	if s == nil || s.Root == c.Root {
		return nil
	}
	if _, err := os.Stat(s.Root); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("another local cluster runs from %s; stop it with: make -C %s cluster-down", s.Root, s.Root)
}

// lock lets one command at a time change the cluster. The lock is a socket without a file, so that it is gone when its
// holder is, however it ended.
func (c *Cluster) lock() (release func()) {
	name := "@" + c.base()
	waiting := false
	for {
		listener, err := net.Listen("unix", name)
		if err == nil {
			return func() { _ = listener.Close() }
		}
		if !waiting {
			c.report.Say("waiting for another cluster command to end")
			waiting = true
		}
		time.Sleep(5 * pollInterval)
	}
}

// node checks the name of a node of the running cluster.
func (c *Cluster) node(s *State, name string) (index int, err error) {
	index, err = c.NodeIndex(name)
	if err == nil && index >= s.Nodes {
		err = fmt.Errorf("there is no node %q; the cluster has %s to %s", name, c.Node(0), c.Node(s.Nodes-1))
	}
	return index, err
}

// findRoot is the directory of the clone that the current directory is in.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "hack", "assets.sh")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("not in a clone of miniplane: there is no hack/assets.sh above the current directory")
		}
	}
}
