package pulls

import (
	"testing"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

func TestNext(t *testing.T) {
	repeat := func(n int, f flight) []flight {
		out := make([]flight, n)
		for i := range out {
			out[i] = f
		}
		return out
	}
	of := func(namespaces ...string) wish { return wish{namespaces: namespaces} }
	late := func(namespaces ...string) wish { return wish{namespaces, true} }
	type wishes = []wish
	for name, test := range map[string]struct {
		waiting []wish
		flying  []flight
		want    int
		counts  string
	}{
		"nobody":                          {nil, nil, -1, ""},
		"the first":                       {wishes{of("a"), of("b")}, nil, 0, "a"},
		"the one with fewer":              {wishes{of("a"), of("a"), of("b")}, []flight{{"a", false}}, 2, "b"},
		"no place":                        {wishes{of("b")}, repeat(4, flight{"a", false}), -1, ""},
		"silent ones take no place":       {wishes{of("b")}, repeat(4, flight{"a", true}), 0, "b"},
		"but count for their namespace":   {wishes{of("a"), of("b")}, repeat(4, flight{"a", true}), 1, "b"},
		"who has all its own waits":       {wishes{of("a")}, repeat(4, flight{"a", true}), -1, ""},
		"there is an end to silent ones":  {wishes{of("z")}, repeat(32, flight{"a", true}), -1, ""},
		"places are of those that move":   {wishes{of("c")}, append(repeat(3, flight{"a", false}), flight{"b", true}), 0, "c"},
		"fewest, silent or not, is first": {wishes{of("a"), of("b")}, []flight{{"a", true}}, 1, "b"},

		"all places move for ever, and one is overdue":            {wishes{of("b"), late("c")}, repeat(4, flight{"a", false}), 1, "c"},
		"so many are silent, and one is overdue":                  {wishes{late("b")}, repeat(32, flight{"a", true}), 0, "b"},
		"overdue, and it has one":                                 {wishes{late("b")}, append(repeat(4, flight{"a", false}), flight{"b", true}), -1, ""},
		"what others want too counts for who has fewest":          {wishes{of("a", "b")}, repeat(4, flight{"a", true}), 0, "b"},
		"and does not wait for the places of the others":          {wishes{late("a", "b")}, repeat(4, flight{"a", false}), 0, "b"},
		"what several want that have all their own, waits":        {wishes{of("a", "b")}, append(repeat(4, flight{"a", true}), repeat(4, flight{"b", true})...), -1, ""},
		"overdue is no turn before others where there is a place": {wishes{of("a"), late("b")}, nil, 0, "a"},
	} {
		if got, counts := next(test.waiting, test.flying, 4); got != test.want || counts != test.counts {
			t.Errorf("%s: %d for %q, want %d for %q", name, got, counts, test.want, test.counts)
		}
	}
}

// Wishes that a registry cannot tell apart are one pull.
func TestKeyOf(t *testing.T) {
	of := func(password, secret string) string {
		return keyOf("x:1", []runtime.RegistryAuth{{Registry: "r", Username: "u", Password: password, Secret: secret}})
	}
	if of("p", "a") != of("p", "b") || of("p", "a") == of("q", "a") || of("p", "a") == keyOf("x:1", nil) {
		t.Error("the key is made of the wrong things")
	}
}
