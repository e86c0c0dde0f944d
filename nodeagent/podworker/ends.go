package podworker

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podplan"
)

// ends are the records of how MiniPods are ended, one small file in memory for each. A grace period is counted from the
// first stop signal by the kernel's monotonic clock, which no correction of the time touches and which goes on while no agent
// runs. So the moment is written down before the signal is sent: the next agent knows when it was, and does not send another.
// A second line says that it was sent. Where that is missing the signal may not have arrived, and is sent again, at no cost of
// time to the container nor gift to it.
type ends struct {
	dir  string
	boot string
	now  func() time.Duration // the kernel's monotonic clock
	// step does one change of what is written down; tests stop there. Nil just does it.
	step func(what string, change func() error) error
}

// change does one change of what is written down.
func (e ends) change(what string, do func() error) error {
	if e.step != nil {
		return e.step(what, do)
	}
	return do()
}

// bootID changes with each start of the machine, and with it what its monotonic clock counts from.
const bootID = "/proc/sys/kernel/random/boot_id"

func newEnds(dir string) ends {
	boot, _ := os.ReadFile(bootID)
	return ends{dir: dir, boot: string(bytes.TrimSpace(boot)), now: monotonic}
}

func monotonic() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // cannot fail: the clock exists and the pointer is good
	return time.Duration(now.Nano())
}

func (e ends) path(uid types.UID) string { return filepath.Join(e.dir, string(uid)) }

const (
	lineTerm = "term" // term ID BOOT NANOSECONDS: the stop signal is about to be sent for the first time
	lineSent = "sent" // sent ID: it was
	lineEnd  = "end"  // end BOOT NANOSECONDS: the end of a MiniPod begins, in which containers take turns
	lineGoes = "goes" // goes: it goes on after all
	lineFail = "fail" // fail ID PROBE: it is about to be ended because a probe failed, or its postStart
	lineHook = "hook" // hook ID KIND BOOT NANOSECONDS: postStart or preStop is about to be run
	lineDone = "done" // done ID KIND: it is over, and did not fail
	lineLeft = "left" // left ID BOOT NANOSECONDS: nobody tells of the container, and it has its grace period from now on
)

// fatal are the probes because of which containers are ended.
var fatal = map[string]miniv1.ProbeKind{string(miniv1.ProbeLiveness): miniv1.ProbeLiveness, string(miniv1.ProbeStartup): miniv1.ProbeStartup}

// over records that the end of a MiniPod is about to begin.
func (e ends) over(uid types.UID) error {
	return e.add(uid, fmt.Sprintf("%s %s %d\n", lineEnd, e.boot, e.now()))
}

// goes records that it goes on.
func (e ends) goes(uid types.UID) error { return e.add(uid, lineGoes+"\n") }

// begin records that the first stop signal is about to be sent to a container.
func (e ends) begin(uid types.UID, id string) error {
	return e.add(uid, fmt.Sprintf("%s %s %s %d\n", lineTerm, id, e.boot, e.now()))
}

// leave records that the grace period begins of a container that nobody tells of.
func (e ends) leave(uid types.UID, id string) error {
	return e.add(uid, fmt.Sprintf("%s %s %s %d\n", lineLeft, id, e.boot, e.now()))
}

// hook records that a hook is about to be run for the first time.
func (e ends) hook(kind miniv1.HookKind) func(types.UID, string) error {
	return func(uid types.UID, id string) error {
		return e.add(uid, fmt.Sprintf("%s %s %s %s %d\n", lineHook, id, kind, e.boot, e.now()))
	}
}

// hookEnded records how it ended.
func (e ends) hookEnded(kind miniv1.HookKind, failed bool) func(types.UID, string) error {
	line := lineDone
	if failed && kind == miniv1.HookPostStart { // nothing follows from a preStop that failed
		line = lineFail
	}
	return func(uid types.UID, id string) error { return e.add(uid, fmt.Sprintf("%s %s %s\n", line, id, kind)) }
}

// failed records that a container is about to be ended because of a probe.
func (e ends) failed(probe miniv1.ProbeKind) func(types.UID, string) error {
	return func(uid types.UID, id string) error {
		return e.add(uid, fmt.Sprintf("%s %s %s\n", lineFail, id, probe))
	}
}

// sent records that it was.
func (e ends) sent(uid types.UID, id string) error {
	return e.add(uid, fmt.Sprintf("%s %s\n", lineSent, id))
}

func (e ends) add(uid types.UID, line string) error {
	return e.change("write "+line, func() error { return e.write(uid, line) })
}

func (e ends) write(uid types.UID, line string) error {
	file, err := os.OpenFile(e.path(uid), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if os.IsNotExist(err) {
		if err = os.MkdirAll(e.dir, 0o700); err == nil {
			file, err = os.OpenFile(e.path(uid), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		}
	}
	if err != nil {
		return err
	}
	_, err = file.WriteString(line)
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}

// record is what an earlier agent wrote down.
type record struct {
	// signals that it sent to the containers of a MiniPod, and hooks that it ran.
	signals map[string]podplan.Sent
	hooks   map[podplan.HookOf]podplan.Hook
	// over is when the end of the MiniPod began.
	over time.Time
}

// read tells what an earlier agent did, in the terms of a clock that shows now.
func (e ends) read(uid types.UID, now time.Time) record {
	content, err := os.ReadFile(e.path(uid))
	if err != nil {
		return record{} // nothing was done, or nobody knows
	}
	return parseEnds(string(content), e.boot, e.now(), now)
}

// parseEnds reads a record. What is not understood, or of another boot, is left out: then the signal is sent again.
func parseEnds(content, boot string, at time.Duration, now time.Time) record {
	out := record{signals: map[string]podplan.Sent{}, hooks: map[podplan.HookOf]podplan.Hook{}}
	for line := range strings.Lines(content) {
		words := strings.Fields(line)
		if n := len(words); n > 2 {
			if began, ok := moment(words[n-2:], boot, at, now); ok {
				out.began(words, began)
				continue
			}
		}
		out.took(words)
	}
	return out
}

// began takes over what a line tells that has a moment at its end.
func (r *record) began(words []string, at time.Time) {
	switch len(words) {
	case 5:
		if of, known := hookOf(words); known && words[0] == lineHook && r.hooks[of].Began.IsZero() {
			r.hooks[of] = podplan.Hook{Began: at}
		}
	case 4:
		if sent := r.signals[words[1]]; begin(&sent, words[0], at) {
			r.signals[words[1]] = sent
		}
	case 3:
		if words[0] == lineEnd && r.over.IsZero() {
			r.over = at
		}
	}
}

// took takes over what a line tells that has none.
func (r *record) took(words []string) {
	switch len(words) {
	case 3:
		r.blame(words)
		r.endHook(words)
	case 2:
		if sent := r.signals[words[1]]; words[0] == lineSent && !sent.Term.IsZero() {
			sent.Unsure = false
			r.signals[words[1]] = sent
		}
	case 1:
		if words[0] == lineGoes {
			r.over = time.Time{}
		}
	}
}

// blame takes over which probe a container is ended for.
func (r record) blame(words []string) {
	if probe, known := fatal[words[2]]; known && words[0] == lineFail {
		sent := r.signals[words[1]]
		sent.Failed = probe
		r.signals[words[1]] = sent
	}
}

// endHook takes over how a hook ended.
func (r record) endHook(words []string) {
	of, known := hookOf(words)
	if failed := words[0] == lineFail; known && (failed || words[0] == lineDone) {
		hook := r.hooks[of]
		hook.Ended, hook.Failed = true, failed
		r.hooks[of] = hook
	}
}

// hookOf reads ID KIND after the first word.
func hookOf(words []string) (podplan.HookOf, bool) {
	kind := miniv1.HookKind(words[2])
	return podplan.HookOf{ID: words[1], Kind: kind}, kind == miniv1.HookPostStart || kind == miniv1.HookPreStop
}

// moment reads BOOT NANOSECONDS in the terms of a clock that shows now, at which the monotonic one shows at.
func moment(words []string, boot string, at time.Duration, now time.Time) (time.Time, bool) {
	began, err := strconv.ParseInt(words[1], 10, 64)
	return now.Add(time.Duration(began) - at), err == nil && words[0] == boot && began >= 0 && time.Duration(began) <= at
}

// begin takes over what a line tells, if none before it did.
func begin(s *podplan.Sent, line string, at time.Time) bool {
	switch {
	case line == lineTerm && s.Term.IsZero():
		s.Term, s.Unsure = at, true
	case line == lineLeft && s.Left.IsZero():
		s.Left = at
	default:
		return false
	}
	return true
}

// forget takes the lines of a container that is gone out of a record, which would grow with each restart otherwise.
func (e ends) forget(uid types.UID, id string) error {
	content, err := os.ReadFile(e.path(uid))
	if err != nil {
		return ignoreAbsent(err)
	}
	var kept strings.Builder
	for line := range strings.Lines(string(content)) {
		if words := strings.Fields(line); len(words) < 2 || words[1] != id {
			kept.WriteString(line)
		}
	}
	if kept.Len() == 0 {
		return e.remove(uid)
	}
	return e.change("forget "+id, func() error {
		next := e.path(uid) + ".next"
		if err := os.WriteFile(next, []byte(kept.String()), 0o600); err != nil {
			return err
		}
		return os.Rename(next, e.path(uid))
	})
}

func ignoreAbsent(err error) error {
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

// remove forgets a MiniPod.
func (e ends) remove(uid types.UID) error {
	return e.change("remove", func() error { return ignoreAbsent(os.Remove(e.path(uid))) })
}
