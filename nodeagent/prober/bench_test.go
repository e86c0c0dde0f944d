package prober

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/intstr"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/probe"
)

const serves = "MINIPLANE_TEST_SERVES"

func TestMain(m *testing.M) {
	if os.Getenv(serves) == "" {
		os.Exit(m.Run())
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr())
	_ = http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) }))
}

// server is a process of its own, whose work is not the prober's.
func server(b *testing.B) int32 {
	b.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), serves+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	var port int32
	if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ':')+1:], &port); err != nil {
		b.Fatal(err)
	}
	return port
}

func spent() time.Duration {
	var usage unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkProbes tells what one probe costs the agent.
func BenchmarkProbes(b *testing.B) {
	port := server(b)
	for name, p := range map[string]miniv1.Probe{
		"http": {HTTPGet: &miniv1.HTTPGetAction{Port: intstr.FromInt32(port)}},
		"tcp":  {TCPSocket: &miniv1.TCPSocketAction{Port: intstr.FromInt32(port)}},
	} {
		b.Run(name, func(b *testing.B) {
			w := &Watch{prober: New(b.Context(), Options{}), target: Target{Address: "127.0.0.1", Spec: &miniv1.Container{LivenessProbe: &p}}}
			w.ctx, w.stop = context.WithCancel(b.Context())
			defer w.stop()
			before := spent()
			for b.Loop() {
				if result, words := w.ask(miniv1.ProbeLiveness); result != probe.Success {
					b.Fatal(words)
				}
			}
			b.ReportMetric(float64((spent()-before).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

// BenchmarkThousand runs a thousand containers with an HTTP probe each second, for as many seconds as it is told to.
func BenchmarkThousand(b *testing.B) {
	port := server(b)
	p := New(b.Context(), Options{})
	for range 1000 {
		spec := &miniv1.Container{LivenessProbe: &miniv1.Probe{HTTPGet: &miniv1.HTTPGetAction{Port: intstr.FromInt32(port)}, PeriodSeconds: 1}}
		w := p.Watch(Target{Address: "127.0.0.1", Spec: spec, Started: time.Now().Add(-time.Hour)}, func(r Report) { b.Error(r.Words) })
		defer w.Stop()
	}
	<-time.After(2 * time.Second)
	start, before := time.Now(), spent()
	for b.Loop() {
		<-time.After(time.Second)
	}
	b.ReportMetric(float64((spent()-before).Milliseconds())/time.Since(start).Seconds(), "cpu-ms/s")
}
