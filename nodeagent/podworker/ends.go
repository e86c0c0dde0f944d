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
// first SIGTERM by the kernel's monotonic clock, which no correction of the time touches and which goes on while no agent
// runs. So the moment is written down before the signal is sent: the next agent knows when it was, and does not send another.
// A second line says that it was sent. Where that is missing the signal may not have arrived, and is sent again, at no cost of
// time to the container nor gift to it.
type ends struct {
	dir  string
	boot string
	now  func() time.Duration // the kernel's monotonic clock
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
	lineTerm = "term" // term ID BOOT NANOSECONDS: SIGTERM is about to be sent for the first time
	lineSent = "sent" // sent ID: it was
	lineEnd  = "end"  // end BOOT NANOSECONDS: the end of a MiniPod begins, in which containers take turns
	lineGoes = "goes" // goes: it goes on after all
	lineFail = "fail" // fail ID PROBE: SIGTERM is about to be sent because a probe failed
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

// begin records that the first SIGTERM is about to be sent to a container.
func (e ends) begin(uid types.UID, id string) error {
	return e.add(uid, fmt.Sprintf("%s %s %s %d\n", lineTerm, id, e.boot, e.now()))
}

// leave records that the grace period begins of a container that nobody tells of.
func (e ends) leave(uid types.UID, id string) error {
	return e.add(uid, fmt.Sprintf("%s %s %s %d\n", lineLeft, id, e.boot, e.now()))
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

// read tells what an earlier agent sent to the containers of a MiniPod, and when the end of it began, in the terms of a clock that shows
// now.
func (e ends) read(uid types.UID, now time.Time) (map[string]podplan.Sent, time.Time) {
	content, err := os.ReadFile(e.path(uid))
	if err != nil {
		return nil, time.Time{} // nothing was sent, or nobody knows
	}
	return parseEnds(string(content), e.boot, e.now(), now)
}

// parseEnds reads a record. What is not understood, or of another boot, is left out: then the signal is sent again.
func parseEnds(content, boot string, at time.Duration, now time.Time) (out map[string]podplan.Sent, over time.Time) {
	out = map[string]podplan.Sent{}
	for line := range strings.Lines(content) {
		switch words := strings.Fields(line); len(words) {
		case 4:
			sent := out[words[1]]
			if began, ok := moment(words[2:], boot, at, now); ok && begin(&sent, words[0], began) {
				out[words[1]] = sent
			}
		case 3:
			if began, ok := moment(words[1:], boot, at, now); ok && words[0] == lineEnd && over.IsZero() {
				over = began
			}
			blame(out, words)
		case 2:
			if sent := out[words[1]]; words[0] == lineSent && !sent.Term.IsZero() {
				sent.Unsure = false
				out[words[1]] = sent
			}
		case 1:
			if words[0] == lineGoes {
				over = time.Time{}
			}
		}
	}
	return out, over
}

// blame takes over which probe a container is ended for.
func blame(out map[string]podplan.Sent, words []string) {
	if probe, known := fatal[words[2]]; known && words[0] == lineFail {
		sent := out[words[1]]
		sent.Failed = probe
		out[words[1]] = sent
	}
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
	next := e.path(uid) + ".next"
	if err := os.WriteFile(next, []byte(kept.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(next, e.path(uid))
}

func ignoreAbsent(err error) error {
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

// remove forgets a MiniPod.
func (e ends) remove(uid types.UID) error {
	return ignoreAbsent(os.Remove(e.path(uid)))
}
