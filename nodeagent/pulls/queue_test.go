package pulls

import "testing"

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
