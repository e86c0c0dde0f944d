//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Program is a process that should run.
type Program struct {
	Name  string // of its record and log
	NetNS string // the network namespace it runs in
	Path  string
	Args  []string
	Env   []string // beside our own
	// Grace is the time between SIGTERM and SIGKILL.
	Grace time.Duration
	// Stamp identifies the version of the program; a running process of another stamp is replaced.
	Stamp string
}

// Record says which process runs a program. The start time tells it from a later process with the same number.
type Record struct {
	PID   int      `json:"pid"`
	Start uint64   `json:"start"` // in clock ticks after the boot: field 22 of /proc/PID/stat
	Argv  []string `json:"argv"`
	Stamp string   `json:"stamp,omitempty"`
}

// Processes starts programs that outlive this one and finds them again by the records in a directory.
type Processes struct {
	layout Layout
	dir    string
}

func newProcesses(l Layout) Processes {
	return Processes{layout: l, dir: filepath.Join(l.RunDir(), "processes")}
}

func (p Processes) recordFile(name string) string { return filepath.Join(p.dir, name+".json") }

// Find returns the record of a program that runs.
func (p Processes) Find(name string) (Record, bool) {
	var r Record
	data, err := os.ReadFile(p.recordFile(name))
	if err != nil || json.Unmarshal(data, &r) != nil {
		return r, false
	}
	return r, r.alive()
}

// alive tells whether the recorded process, and no other with its number, still runs.
func (r Record) alive() bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.PID))
	if err != nil {
		return false
	}
	state, start, err := parseStat(string(data))
	return err == nil && start == r.Start && state != "Z" && state != "X"
}

// parseStat reads the state and the start time from a line of /proc/PID/stat. The command's name in it may contain
// anything, brackets included, so that fields are counted from its last bracket.
func parseStat(line string) (state string, start uint64, err error) {
	_, rest, ok := cutLast(line, ")")
	fields := strings.Fields(rest)
	const startField = 22 - 3 // the first of rest is field 3
	if !ok || len(fields) <= startField {
		return "", 0, fmt.Errorf("not a stat line: %q", line)
	}
	start, err = strconv.ParseUint(fields[startField], 10, 64)
	return fields[0], start, err
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// Ensure starts the program unless it runs. A process with other arguments or of another stamp is replaced. It tells
// whether it started one.
func (p Processes) Ensure(prog Program) (started bool, err error) {
	if r, running := p.Find(prog.Name); running {
		if slices.Equal(r.Argv, argv(prog)) && r.Stamp == prog.Stamp {
			return false, nil
		}
		if err := p.Stop(prog.Name, prog.Grace); err != nil {
			return false, err
		}
	}
	p.killStrays(prog)
	return true, p.start(prog)
}

// killStrays ends processes of the program that have no record: they were started by a run of ours that was killed before
// it could write one.
func (p Processes) killStrays(prog Program) {
	for _, pid := range cgroupProcesses(p.layout.DaemonCgroup(prog.NetNS)) {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if slices.Equal(strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00"), argv(prog)) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			waitFor(killTimeout, func() bool { return zombie(pid) })
		}
	}
}

func argv(prog Program) []string { return append([]string{prog.Path}, prog.Args...) }

func (p Processes) start(prog Program) error {
	log, err := p.openLog(prog.Name)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(prog.Path, prog.Args...)
	cmd.Env = append(os.Environ(), prog.Env...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = inNetNS(prog.NetNS, func() error { return startInCgroup(p.layout.DaemonCgroup(prog.NetNS), cmd) })
	if err != nil {
		return fmt.Errorf("%s: %w", prog.Name, err)
	}
	go func() { _ = cmd.Wait() }() // so that an end does not look like a life
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
	if err != nil {
		return fmt.Errorf("%s ended at once; %s", prog.Name, p.logTail(prog.Name))
	}
	_, start, err := parseStat(string(stat))
	if err != nil {
		return err
	}
	data, err := json.Marshal(Record{PID: cmd.Process.Pid, Start: start, Argv: argv(prog), Stamp: prog.Stamp})
	if err != nil {
		return err
	}
	return writeWhole(p.recordFile(prog.Name), data, 0o600)
}

func (p Processes) openLog(name string) (*os.File, error) {
	if err := os.MkdirAll(p.layout.LogDir(), 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(p.logFile(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

func (p Processes) logFile(name string) string { return filepath.Join(p.layout.LogDir(), name+".log") }

// logTail is the end of a program's log, for an error message.
func (p Processes) logTail(name string) string {
	const lines = 8
	data, _ := os.ReadFile(p.logFile(name))
	all := strings.Split(strings.TrimSpace(string(data)), "\n")
	return fmt.Sprintf("the end of %s:\n    %s", p.logFile(name), strings.Join(all[max(0, len(all)-lines):], "\n    "))
}

// Stop ends the program with SIGTERM, after the grace with SIGKILL, and removes its record. Nil if it does not run.
func (p Processes) Stop(name string, grace time.Duration) error {
	r, running := p.Find(name)
	if running && grace > 0 {
		_ = syscall.Kill(r.PID, syscall.SIGTERM)
		running = !waitFor(grace, func() bool { return !r.alive() })
	}
	if running {
		_ = syscall.Kill(r.PID, syscall.SIGKILL)
		if !waitFor(killTimeout, func() bool { return !r.alive() }) {
			return fmt.Errorf("%s (process %d) does not end after SIGKILL", name, r.PID)
		}
	}
	if err := os.Remove(p.recordFile(name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

const (
	killTimeout  = 10 * time.Second
	pollInterval = 20 * time.Millisecond
)

// waitFor asks until the answer is yes, or the time is over.
func waitFor(timeout time.Duration, done func() bool) bool {
	deadline := time.Now().Add(timeout)
	for !done() {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(pollInterval)
	}
	return true
}
