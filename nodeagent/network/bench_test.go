package network

import (
	"fmt"
	"sync"
	"testing"

	"miniplane.dev/miniplane/nodeagent/nettest"
)

// BenchmarkAttach takes the time of one Attach and one Detach with 0 and with 500 other MiniPods on the node.
func BenchmarkAttach(b *testing.B) {
	for _, others := range []int{0, 500} {
		b.Run(fmt.Sprintf("others=%d", others), func(b *testing.B) {
			n := alone(b)
			for i := range others {
				n.attach(fmt.Sprint("other-", i), nettest.New(b, "other"))
			}
			pod := nettest.New(b, "pod")
			n.Do(func() {
				for b.Loop() {
					if _, err := n.Attach(b.Context(), "uid", pod.Path()); err != nil {
						b.Fatal(err)
					}
					b.StopTimer()
					if err := n.Detach(b.Context(), "uid"); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
			})
		})
		b.Run(fmt.Sprintf("detach/others=%d", others), func(b *testing.B) {
			n := alone(b)
			for i := range others {
				n.attach(fmt.Sprint("other-", i), nettest.New(b, "other"))
			}
			pod := nettest.New(b, "pod")
			n.Do(func() {
				for b.Loop() {
					b.StopTimer()
					if _, err := n.Attach(b.Context(), "uid", pod.Path()); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
					if err := n.Detach(b.Context(), "uid"); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// BenchmarkDetachMany takes the time of 60 Detaches at once.
func BenchmarkDetachMany(b *testing.B) {
	n := alone(b)
	for b.Loop() {
		b.StopTimer()
		for i := range 60 {
			n.attach(fmt.Sprint("uid-", i), nettest.New(b, "pod"))
		}
		b.StartTimer()
		var all sync.WaitGroup
		for i := range 60 {
			all.Go(func() { n.detach(fmt.Sprint("uid-", i)) })
		}
		all.Wait()
	}
}

// BenchmarkMend takes the time of a look at all that was made, with nothing to mend.
func BenchmarkMend(b *testing.B) {
	for _, pods := range []int{10, 500} {
		b.Run(fmt.Sprintf("pods=%d", pods), func(b *testing.B) {
			n := alone(b)
			for i := range pods {
				n.attach(fmt.Sprint("uid-", i), nettest.New(b, "pod"))
			}
			n.setPeers()
			n.peersMu.Lock()
			defer n.peersMu.Unlock()
			n.Do(func() {
				for b.Loop() {
					if err := n.mend(); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
