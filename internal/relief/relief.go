// Package relief decides which MiniPod gives way when a node's MiniPods together have nearly all the processes that they may have.
//
// Idea. One fork bomb is kept by its own limit. Several together fill the lane, each within its limit; then no neighbour forks and no
// MiniPod starts, until somebody gives way. Who took the most since there was room last gives way, one after the other, until there is
// room again: that tells a bomb from a program that always has many threads.
//
// What makes it hard is to spare whoever does no harm. So nobody gives way who took less than a fiftieth of the lane since, or who is alone;
// where all are like that, nobody gives way.
package relief

import "k8s.io/apimachinery/pkg/types"

const (
	// full is how many hundredths of its limit the lane has when somebody has to give way, and calm up to how many there is room.
	full, calm = 95, 75
	// fewest is the part of the lane that somebody must have taken to give way.
	fewest = 50
)

// Full tells that somebody has to give way, Calm that there is room.
func Full(used, most int64) bool { return used >= most*full/100 }

// Calm tells that there is room for everybody.
func Calm(used, most int64) bool { return used < most*calm/100 }

// Who gives way: the MiniPod that has taken the most processes since there was room. Before is what each had then; of one that is not in it
// all counts. Most is how many all may have together.
func Who(before, now map[types.UID]int64, most int64) (types.UID, bool) {
	var worst types.UID
	var took int64
	for uid, n := range now {
		grew := n - before[uid]
		if grew*fewest < most || len(now) == 1 {
			continue
		}
		if grew > took || grew == took && uid < worst {
			worst, took = uid, grew
		}
	}
	return worst, took > 0
}
