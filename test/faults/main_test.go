package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	discoveryv1 "k8s.io/api/discovery/v1"

	"miniplane.dev/miniplane/test/faults/report"
	"miniplane.dev/miniplane/test/faults/sight"
	"miniplane.dev/miniplane/test/testenv"
)

// Every fault has a key and a title of its own, is done somewhere or says why not, and never lasts so long that a short run is long.
func TestFaults(t *testing.T) {
	keys, titles := map[string]bool{}, map[string]bool{}
	for _, f := range faults() {
		if f.key == "" || keys[f.key] || f.title == "" || titles[f.title] {
			t.Errorf("%q %q: not one of its own", f.key, f.title)
		}
		keys[f.key], titles[f.title] = true, true
		if (f.do == nil) == (f.notRun == "") || len(f.on) == 0 {
			t.Errorf("%s is neither done nor does it say why not", f.key)
		}
		if f.do != nil && (f.short < 1 || f.short > f.times) {
			t.Errorf("%s: %d times in a short run, %d in a long one", f.key, f.short, f.times)
		}
	}
}

func TestChoose(t *testing.T) {
	chosen, err := choose("leader, agent")
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, f := range possible(chosen, full) {
		keys = append(keys, f.key)
	}
	if want := []string{"agent", "leader"}; !slices.Equal(keys, want) {
		t.Errorf("chosen: %v, want %v", keys, want)
	}
	if _, err := choose("agent,typo"); err == nil || !strings.Contains(err.Error(), "typo") {
		t.Errorf("a fault that is not there: %v", err)
	}
	if all, _ := choose(""); len(all) != len(faults()) {
		t.Errorf("%d of all %d", len(all), len(faults()))
	}
}

// A fault is taken back exactly once for each time, also when it failed, and when the run is interrupted while it lasts.
func TestTakenBack(t *testing.T) {
	for name, test := range map[string]struct {
		failed   error
		hold     time.Duration
		tried    int
		takeBack int
	}{
		"done":        {nil, 0, 3, 3},
		"failed":      {errors.New("cannot"), 0, 0, 1},
		"interrupted": {nil, time.Hour, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			back, ended := 0, 0
			f := fault{hold: test.hold,
				during: func(context.Context, *world) (undo, error) {
					return func(ctx context.Context) error { ended++; return ctx.Err() }, nil
				},
				do: func(context.Context, *world) (undo, error) {
					if test.hold > 0 {
						cancel()
					}
					return func(ctx context.Context) error { back++; return ctx.Err() }, test.failed
				}}
			var row report.Row
			err := (&world{}).repeat(ctx, f, 3, &row)
			if (err != nil) != (test.tried < 3) || row.Tried != test.tried || back != test.takeBack || ended != 1 {
				t.Errorf("%v; tried %d, taken back %d, ended %d; want %d, %d, 1", err, row.Tried, back, ended, test.tried, test.takeBack)
			}
			if err != nil && test.hold > 0 && !errors.Is(err, context.Canceled) {
				t.Errorf("undo ran with a context that had ended: %v", err)
			}
		})
	}
}

// What ends badly that ran beside a fault is a failure of the fault.
func TestEndOfWhatRunsBeside(t *testing.T) {
	wrong := errors.New("a hook ran twice")
	for name, f := range map[string]fault{
		"at its end": {during: func(context.Context, *world) (undo, error) { return func(context.Context) error { return wrong }, nil },
			do: func(context.Context, *world) (undo, error) { return nil, nil }},
		"half begun": {during: func(context.Context, *world) (undo, error) {
			return func(context.Context) error { return wrong }, errors.New("cannot begin")
		}},
	} {
		var row report.Row
		if err := (&world{}).repeat(t.Context(), f, 1, &row); !errors.Is(err, wrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The clock of a machine that is not the campaign's own is left alone.
func TestClockOfOthers(t *testing.T) {
	if ownClock() == nil {
		t.Skip("SKIPPED: this machine is one of hack/vm, whose clock is nobody else's")
	}
	before := time.Now()
	back, err := setClocks()(t.Context(), &world{})
	if err == nil || back != nil {
		t.Errorf("set, with the error %v", err)
	}
	if after := time.Now(); (after.Round(0).Sub(before.Round(0)) - after.Sub(before)).Abs() > clockJump/2 {
		t.Error("the clock of this machine was set")
	}
}

// Rows of another machine's run are put beside those that are there.
func TestRowsFromElsewhere(t *testing.T) {
	dir := t.TempDir()
	o := options{store: filepath.Join(dir, "all.json"), from: filepath.Join(dir, "vm.json")}
	if err := start(t.Context(), o, false, false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without such a file: %v", err)
	}
	here, there := report.Row{Fault: "here", Where: full}, report.Row{Fault: "there", Where: vm, Tried: 4}
	if err := errors.Join(save(o, []report.Row{here}), save(options{store: o.from}, []report.Row{there})); err != nil {
		t.Fatal(err)
	}
	if err := start(t.Context(), o, false, false); err != nil {
		t.Fatal(err)
	}
	got, err := load(o.store)
	if diff := cmp.Diff([]report.Row{here, there}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// A fault that did no harm where it should proves nothing, and is taken back.
func TestBites(t *testing.T) {
	back, harmless := 0, errors.New("harmless")
	f := fault{do: func(context.Context, *world) (undo, error) {
		return func(context.Context) error { back++; return nil }, nil
	},
		bites: func(context.Context, *world) error { return harmless }}
	var row report.Row
	if err := (&world{}).repeat(t.Context(), f, 2, &row); !errors.Is(err, harmless) || row.Tried != 0 || back != 1 {
		t.Errorf("%v; tried %d, taken back %d", err, row.Tried, back)
	}
}

// What ended while the cgroups were read is no double; what was there both times is.
func TestBoth(t *testing.T) {
	a0, a1, a2 := sight.Life{Attempt: "0", Start: 1}, sight.Life{Attempt: "1", Start: 2}, sight.Life{Attempt: "2", Start: 3}
	for _, test := range []struct{ a, b, want []sight.Life }{
		{[]sight.Life{a0, a1}, []sight.Life{a1}, []sight.Life{a1}},
		{[]sight.Life{a0, a1}, []sight.Life{a0, a1}, []sight.Life{a0, a1}},
		{[]sight.Life{a0, a1}, []sight.Life{a2}, []sight.Life{a2}},
		{[]sight.Life{a0, a1}, nil, []sight.Life{}},
	} {
		if diff := cmp.Diff(test.want, append([]sight.Life{}, both(test.a, test.b)...)); diff != "" {
			t.Errorf("%v then %v (-want +got):\n%s", test.a, test.b, diff)
		}
	}
}

func TestWrong(t *testing.T) {
	yes, no := true, false
	slice := discoveryv1.EndpointSlice{Endpoints: []discoveryv1.Endpoint{
		{Addresses: []string{"1.1.1.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &yes}},
		{Addresses: []string{"1.1.1.2"}, Conditions: discoveryv1.EndpointConditions{Ready: &no}},
	}}
	if err := wrong([]discoveryv1.EndpointSlice{slice}, map[string]string{"1.1.1.1": "a"}); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]map[string]string{"one is missing": {"1.1.1.1": "a", "1.1.1.3": "b"}, "one too many": {}} {
		if wrong([]discoveryv1.EndpointSlice{slice}, want) == nil {
			t.Errorf("%s: nothing wrong", name)
		}
	}
}

// Rows of several runs come together in one table, with a row for each fault that nobody ran.
func TestSave(t *testing.T) {
	dir := t.TempDir()
	o := options{store: filepath.Join(dir, "deep", "rows.json"), doc: filepath.Join(dir, "doc.md")}
	if err := os.WriteFile(o.doc, []byte("# Page\n"+tableBegins+"\nold\n"+tableEnds+"\nend\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	all := faults()
	for _, f := range all[:2] {
		if err := save(o, []report.Row{{Fault: f.title, Where: f.on[0], Tried: 7, Date: "2026-01-02"}}); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(o.doc)
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	if strings.Contains(page, "old") || !strings.HasPrefix(page, "# Page\n") || !strings.HasSuffix(page, tableEnds+"\nend\n") {
		t.Errorf("the page is:\n%s", page)
	}
	if n := strings.Count(page, "| 7 | 0 |"); n != 2 {
		t.Errorf("%d rows that were run, want 2:\n%s", n, page)
	}
	for _, f := range all[2:] {
		if !strings.Contains(page, f.title+" | "+f.on[0]+" | not run") {
			t.Errorf("%s is missing:\n%s", f.title, page)
		}
	}
}

// The page has a row for each fault, be it run or not, and none of faults that are no more.
func TestPage(t *testing.T) {
	o := options{store: filepath.Join(t.TempDir(), "latest.json"), doc: filepath.Join(t.TempDir(), "reliability.md")}
	for from, to := range map[string]string{"docs/reliability/latest.json": o.store, "docs/reliability.md": o.doc} {
		data, err := os.ReadFile(filepath.Join(testenv.Root(), from))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before, err := os.ReadFile(o.doc)
	if err != nil {
		t.Fatal(err)
	}
	if err := save(o, nil); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(o.doc)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(before), string(after)); diff != "" {
		t.Errorf("docs/reliability.md is not what bin/faults -render makes of docs/reliability/latest.json:\n%s", diff)
	}
}

func TestVerdict(t *testing.T) {
	good, bad := report.Row{Fault: "good"}, report.Row{Fault: "bad", Doubles: 1}
	if err := verdict([]report.Row{good}); err != nil {
		t.Error(err)
	}
	if err := verdict([]report.Row{good, bad}); err == nil || !strings.Contains(err.Error(), "bad") {
		t.Errorf("a promise was broken: %v", err)
	}
}

// A file system that is filled takes nothing more, and is as large as before when that is over.
func TestFill(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	if _, err := fill(dir)(t.Context(), nil); err == nil {
		t.Error("a directory on the machine's disk was filled")
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	write := func(n int) error { return os.WriteFile(filepath.Join(dir, "file"), make([]byte, n), 0o644) }
	if err := write(100 << 10); err != nil {
		t.Fatal(err)
	}
	back, err := fill(dir)(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "more"), []byte("x"), 0o644); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("writing into what is full: %v", err)
	}
	if err := back(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := write(3 << 20); err != nil {
		t.Errorf("after it was taken back: %v", err)
	}
}
