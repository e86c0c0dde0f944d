package sight

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSplit(t *testing.T) {
	container, attempt := Split("0b9c-main-12")
	if container != "0b9c-main" || attempt != "12" {
		t.Errorf("got %q and %q", container, attempt)
	}
}

func TestAccount(t *testing.T) {
	a0, a1 := Life{"0", 100}, Life{"1", 200}
	for _, test := range []struct {
		name          string
		looks         []Look
		restarts      int
		gone, doubles []string
	}{
		{"nothing happened", []Look{{"p-a": {a0}}}, 0, nil, nil},
		{"restarted", []Look{{"p-a": {a1}}}, 1, nil, nil},
		{"restarted twice", []Look{{"p-a": {a1}}, {}, {"p-a": {{"2", 300}}}}, 2, nil, nil},
		{"restarted once, by a process that another one starts", []Look{{"p-a": {a1}}, {"p-a": {{"1", 201}}}}, 1, nil, nil},
		{"another process under the same name", []Look{{"p-a": {{"0", 150}}}}, 1, nil, nil},
		{"away for one look is no restart", []Look{{}, {"p-a": {a0}}}, 0, nil, nil},
		{"gone", []Look{{}}, 0, []string{"p-a"}, nil},
		{"double", []Look{{"p-a": {a0, a1}}, {"p-a": {a0}}}, 1, nil, []string{"p-a"}},
		{"double of another's container", []Look{{"p-a": {a0}, "q-b": {a0, a1}}}, 0, nil, []string{"q-b"}},
		{"others' restarts do not count", []Look{{"p-a": {a0}, "q-b": {a0}}, {"p-a": {a0}, "q-b": {a1}}}, 0, nil, nil},
	} {
		account := Begin(Look{"p-a": {a0}}, []string{"p-a"})
		for _, look := range test.looks {
			account.Add(look)
		}
		if got := account.Restarts(); got != test.restarts {
			t.Errorf("%s: %d restarts, want %d", test.name, got, test.restarts)
		}
		if diff := cmp.Diff(append([]string{}, test.gone...), append([]string{}, account.Gone()...)); diff != "" {
			t.Errorf("%s: gone (-want +got):\n%s", test.name, diff)
		}
		if diff := cmp.Diff(append([]string{}, test.doubles...), append([]string{}, account.Doubles()...)); diff != "" {
			t.Errorf("%s: doubles (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestOutage(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	var o Outage
	o.Note(true, at(0))
	if total, times := o.Total(at(5)); total != 0 || times != 0 {
		t.Errorf("good all the time: %s, %d times", total, times)
	}
	o.Note(false, at(10))
	o.Note(false, at(12))
	if total, _ := o.Total(at(13)); total != 3*time.Second {
		t.Errorf("bad since 3 s: %s", total)
	}
	o.Note(true, at(14))
	o.Note(true, at(20))
	o.Note(false, at(30))
	o.Note(true, at(31))
	if total, times := o.Total(at(40)); total != 5*time.Second || times != 2 {
		t.Errorf("%s in %d times, want 5s in 2", total, times)
	}
}
