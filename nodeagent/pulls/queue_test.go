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
	for name, test := range map[string]struct {
		waiting []wish
		flying  []flight
		want    int
	}{
		"nobody":                          {nil, nil, -1},
		"the first":                       {[]wish{{"a"}, {"b"}}, nil, 0},
		"the one with fewer":              {[]wish{{"a"}, {"a"}, {"b"}}, []flight{{"a", false}}, 2},
		"no place":                        {[]wish{{"b"}}, repeat(4, flight{"a", false}), -1},
		"silent ones take no place":       {[]wish{{"b"}}, repeat(4, flight{"a", true}), 0},
		"but count for their namespace":   {[]wish{{"a"}, {"b"}}, repeat(4, flight{"a", true}), 1},
		"who has all its own waits":       {[]wish{{"a"}}, repeat(4, flight{"a", true}), -1},
		"there is an end to silent ones":  {[]wish{{"z"}}, repeat(32, flight{"a", true}), -1},
		"places are of those that move":   {[]wish{{"c"}}, append(repeat(3, flight{"a", false}), flight{"b", true}), 0},
		"fewest, silent or not, is first": {[]wish{{"a"}, {"b"}}, []flight{{"a", true}}, 1},
	} {
		if got := next(test.waiting, test.flying, 4); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
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
