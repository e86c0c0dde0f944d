package relief

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func TestWho(t *testing.T) {
	type pods = map[types.UID]int64
	for name, tc := range map[string]struct {
		before, now pods
		want        types.UID // empty: nobody
	}{
		"nobody is there":                        {nil, nil, ""},
		"one that has all, and disturbs nobody":  {nil, pods{"a": 1000}, ""},
		"all alike, and all since then":          {nil, pods{"a": 240, "b": 240, "c": 240, "d": 240}, "a"},
		"a bomb among small ones":                {nil, pods{"a": 10, "b": 960, "c": 10}, "b"},
		"the largest of several bombs":           {nil, pods{"a": 400, "b": 410, "c": 150, "d": 1, "e": 1}, "b"},
		"of two alike, always the same":          {nil, pods{"c": 1, "b": 480, "a": 480}, "a"},
		"a program that has always had many":     {pods{"many": 500, "bomb": 3}, pods{"many": 510, "bomb": 460, "c": 1}, "bomb"},
		"one that came since":                    {pods{"many": 500}, pods{"many": 510, "bomb": 460, "c": 1}, "bomb"},
		"they always had many":                   {pods{"a": 480, "b": 475}, pods{"a": 485, "b": 475}, ""},
		"who grew, and not who has more":         {pods{"a": 800, "b": 10}, pods{"a": 800, "b": 150}, "b"},
		"many alike, and one that starts anew":   {alike(48, 20), merged(alike(48, 20), "new", 19), ""},
		"hundreds of bombs that are hardly more": {alike(100, 1), alike(100, 9), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, found := Who(tc.before, tc.now, 1000)
			if found != (tc.want != "") || found && got != tc.want {
				t.Errorf("%q, %t, want %q", got, found, tc.want)
			}
		})
	}
}

func alike(n int, each int64) map[types.UID]int64 {
	out := map[types.UID]int64{}
	for i := range n {
		out[types.UID(fmt.Sprint("p", i))] = each
	}
	return out
}

func merged(pods map[types.UID]int64, uid types.UID, n int64) map[types.UID]int64 {
	pods[uid] = n
	return pods
}

// Whatever runs on a node: bombs that fill a lane give way one by one until there is room, and nobody who has few, or has long had what it
// has, ever does.
func TestBombsGiveWayAndOthersDoNot(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 3))
		most := int64(2000 + random.IntN(30000))
		before, now, bombs := map[types.UID]int64{}, map[types.UID]int64{}, map[types.UID]bool{}
		used := int64(0)
		for i := range random.IntN(100) {
			uid := types.UID(fmt.Sprint("calm", i))
			before[uid] = 1 + random.Int64N(most/200)
			if random.IntN(30) == 0 {
				before[uid] += most / 10
			}
			if used+before[uid] > most*calm/100 {
				delete(before, uid)
				break
			}
			now[uid] = before[uid] + random.Int64N(2+most/500)
			used += now[uid]
		}
		now["new"] = 1 + random.Int64N(most/fewest-1) // it starts just now
		used += now["new"]
		left := most - used
		n := 1 + random.Int64N(min(12, left*fewest/most-1))
		for i := range n {
			uid := types.UID(fmt.Sprint("bomb", i))
			bombs[uid], now[uid] = true, left/n
			used += left / n
		}
		for rounds := 0; Full(used, most); rounds++ {
			uid, found := Who(before, now, most)
			if !found || !bombs[uid] || rounds > 12 {
				t.Fatalf("seed %d: %d of %d, and %q gives way (%d before, %d now)", seed, used, most, uid, before[uid], now[uid])
			}
			used -= now[uid]
			now[uid] = 1
			used++
		}
	}
}

func TestFullAndCalm(t *testing.T) {
	for used, want := range map[int64][2]bool{0: {false, true}, 749: {false, true}, 750: {false, false}, 949: {false, false}, 950: {true, false}, 1000: {true, false}} {
		if got := [2]bool{Full(used, 1000), Calm(used, 1000)}; got != want {
			t.Errorf("%d: %v, want %v", used, got, want)
		}
	}
}
