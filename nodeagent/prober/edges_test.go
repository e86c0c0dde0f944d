package prober

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	healthserver "google.golang.org/grpc/health"
	health "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/probe"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

// asks runs one probe of a container at 127.0.0.1.
func asks(t *testing.T, p miniv1.Probe, ports ...miniv1.ContainerPort) (probe.Result, string) {
	t.Helper()
	w := &Watch{prober: New(t.Context(), Options{}), target: Target{ID: "c", Address: "127.0.0.1", Spec: &miniv1.Container{LivenessProbe: &p, Ports: ports}}}
	w.ctx, w.stop = context.WithCancel(t.Context())
	defer w.stop()
	return w.ask(miniv1.ProbeLiveness)
}

func portOf(t *testing.T, address string) int32 {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return int32(number)
}

func want(t *testing.T, result probe.Result, words string, is probe.Result, has string) {
	t.Helper()
	if result != is || !strings.Contains(words, has) {
		t.Errorf("%s %q, want %s with %q", result, words, is, has)
	}
}

func TestHTTP(t *testing.T) {
	var seen atomic.Pointer[http.Request]
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect to another host was followed") }))
	defer elsewhere.Close()
	there, _ := url.Parse(elsewhere.URL)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r)
		switch code, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/")); {
		case err == nil:
			w.WriteHeader(code)
			_, _ = io.WriteString(w, "some words")
		case r.URL.Path == "/here":
			http.Redirect(w, r, "/500", http.StatusFound)
		case r.URL.Path == "/there":
			http.Redirect(w, r, "http://localhost:"+there.Port()+"/", http.StatusFound)
		case r.URL.Path == "/circle":
			http.Redirect(w, r, "/circle", http.StatusFound)
		}
	})
	server, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer server.Close()
	defer secure.Close()
	get := func(path string, change ...func(*miniv1.HTTPGetAction)) (probe.Result, string) {
		action := miniv1.HTTPGetAction{Path: path, Port: intstr.FromInt32(portOf(t, server.Listener.Addr().String()))}
		for _, f := range change {
			f(&action)
		}
		return asks(t, miniv1.Probe{HTTPGet: &action}, miniv1.ContainerPort{Name: "web", ContainerPort: portOf(t, server.Listener.Addr().String())})
	}
	for code, is := range map[int]probe.Result{200: probe.Success, 204: probe.Success, 302: probe.Success, 399: probe.Success, 400: probe.Failure, 404: probe.Failure, 500: probe.Failure, 503: probe.Failure} {
		result, words := get(fmt.Sprintf("/%d", code))
		has := ""
		if is == probe.Failure {
			has = fmt.Sprintf("HTTP probe failed with statuscode: %d", code)
		}
		want(t, result, words, is, has)
		if words != has {
			t.Errorf("what the server says is told to all who may read Events: %q", words)
		}
	}
	result, words := get("/here")
	want(t, result, words, probe.Failure, "500")
	result, words = get("/there")
	want(t, result, words, probe.Success, "")
	result, words = get("/circle")
	want(t, result, words, probe.Failure, "stopped after 10 redirects")

	result, words = get("", func(a *miniv1.HTTPGetAction) { a.Port = intstr.FromString("web") })
	want(t, result, words, probe.Success, "")
	if r := seen.Load(); r.URL.Path != "/" || r.Header.Get("User-Agent") != userAgent || r.Header.Get("Accept") != "*/*" || r.Method != "GET" {
		t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
	}
	result, words = get("/a?b=c", func(a *miniv1.HTTPGetAction) {
		a.HTTPHeaders = []miniv1.HTTPHeader{{Name: "host", Value: "example.com"}, {Name: "X-Any", Value: "1"}, {Name: "X-Any", Value: "2"},
			{Name: "User-Agent"}, {Name: "accept"}}
	})
	want(t, result, words, probe.Success, "")
	r := seen.Load()
	_, agent := r.Header["User-Agent"]
	_, accept := r.Header["Accept"]
	if r.Host != "example.com" || agent || accept || r.URL.RawQuery != "b=c" || cmp.Diff([]string{"1", "2"}, r.Header["X-Any"]) != "" {
		t.Errorf("%s %s %v", r.Host, r.URL, r.Header)
	}
	result, words = get("/200", func(a *miniv1.HTTPGetAction) {
		a.Scheme, a.Port = corev1.URISchemeHTTPS, intstr.FromInt32(portOf(t, secure.Listener.Addr().String()))
	})
	want(t, result, words, probe.Success, "")
	result, words = get("/200", func(a *miniv1.HTTPGetAction) { a.Host = "localhost" })
	want(t, result, words, probe.Success, "")
	result, words = get("/200", func(a *miniv1.HTTPGetAction) { a.Port = intstr.FromString("none") })
	want(t, result, words, probe.Unknown, `no port "none"`)
	result, words = get("//example.com/200") // which names no other host
	want(t, result, words, probe.Success, "")
	server.Close()
	result, words = get("/200")
	want(t, result, words, probe.Failure, "connection refused")
}

// hostile serves each connection with what a function writes, until the client is gone.
func hostile(t *testing.T, serve func(net.Conn)) miniv1.Probe {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				_, _ = conn.Read(make([]byte, 4096)) // what is asked
				serve(conn)
			}()
		}
	}()
	return miniv1.Probe{HTTPGet: &miniv1.HTTPGetAction{Port: intstr.FromInt32(portOf(t, listener.Addr().String()))}}
}

// Answers without end are read as far as is needed, and not longer than the probe's timeout.
func TestHostile(t *testing.T) {
	endless := func(begin, more string, sent *atomic.Int64) func(net.Conn) {
		return func(conn net.Conn) {
			_, _ = io.WriteString(conn, begin)
			for {
				n, err := io.WriteString(conn, more)
				if sent.Add(int64(n)); err != nil {
					return
				}
			}
		}
	}
	line := strings.Repeat("x", 1000) + "\r\n"
	result, words := asks(t, hostile(t, func(conn net.Conn) { _, _ = io.WriteString(conn, "secret words\r\n\r\n") }))
	want(t, result, words, probe.Failure, "does not speak the protocol")
	if strings.Contains(words, "secret") {
		t.Errorf("what the server says is told to all who may read Events: %q", words)
	}
	var body, headers atomic.Int64
	result, words = asks(t, hostile(t, endless("HTTP/1.1 200 OK\r\n\r\n", line, &body)))
	want(t, result, words, probe.Success, "")
	result, words = asks(t, hostile(t, endless("HTTP/1.1 200 OK\r\n", "X-Y: "+line, &headers)))
	want(t, result, words, probe.Failure, "does not speak the protocol")
	for what, n := range map[string]*atomic.Int64{"body": &body, "headers": &headers} {
		if n.Load() > 16<<20 { // what the kernel's buffers take
			t.Errorf("%d bytes of %s were taken", n.Load(), what)
		}
	}
	drip := hostile(t, func(conn net.Conn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		for {
			if _, err := io.WriteString(conn, "x"); err != nil {
				return
			}
			<-time.After(10 * time.Millisecond)
		}
	})
	start := time.Now()
	result, words = asks(t, drip)
	want(t, result, words, probe.Failure, "")
	if took := time.Since(start); took < time.Second {
		t.Errorf("gave up after %s", took)
	}
	silent := hostile(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	result, words = asks(t, silent)
	want(t, result, words, probe.Failure, "deadline exceeded")
	tcp := miniv1.Probe{TCPSocket: &miniv1.TCPSocketAction{Port: silent.HTTPGet.Port}}
	result, words = asks(t, tcp)
	want(t, result, words, probe.Success, "")
	rpc := miniv1.Probe{GRPC: &miniv1.GRPCAction{Port: silent.HTTPGet.Port.IntVal}}
	result, words = asks(t, rpc)
	want(t, result, words, probe.Failure, "")
	result, words = asks(t, miniv1.Probe{GRPC: &miniv1.GRPCAction{Port: hostile(t, endless("", line, &atomic.Int64{})).HTTPGet.Port.IntVal}})
	want(t, result, words, probe.Failure, "")
}

func TestTCP(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := miniv1.Probe{TCPSocket: &miniv1.TCPSocketAction{Port: intstr.FromString("db")}}
	port := miniv1.ContainerPort{Name: "db", ContainerPort: portOf(t, listener.Addr().String())}
	result, words := asks(t, p, port)
	want(t, result, words, probe.Success, "")
	_ = listener.Close()
	result, words = asks(t, p, port)
	want(t, result, words, probe.Failure, "connection refused")
	result, words = asks(t, p)
	want(t, result, words, probe.Unknown, `no port "db"`)
	p.TCPSocket.Port = intstr.FromString(strconv.Itoa(int(port.ContainerPort))) // a number written as a name, as people do
	result, words = asks(t, p)
	want(t, result, words, probe.Failure, "connection refused")
}

func TestGRPC(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, state := grpc.NewServer(), healthserver.NewServer()
	health.RegisterHealthServer(server, state)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	state.SetServingStatus("up", health.HealthCheckResponse_SERVING)
	state.SetServingStatus("down", health.HealthCheckResponse_NOT_SERVING)
	p := miniv1.Probe{GRPC: &miniv1.GRPCAction{Port: portOf(t, listener.Addr().String())}}
	for service, w := range map[string]struct {
		is  probe.Result
		has string
	}{"": {probe.Success, ""}, "up": {probe.Success, ""}, "down": {probe.Failure, "NOT_SERVING"}, "other": {probe.Failure, "unknown service"}} {
		p.GRPC.Service = &service
		result, words := asks(t, p)
		want(t, result, words, w.is, w.has)
	}
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	other := grpc.NewServer()
	go func() { _ = other.Serve(mute) }()
	defer other.Stop()
	result, words := asks(t, miniv1.Probe{GRPC: &miniv1.GRPCAction{Port: portOf(t, mute.Addr().String())}})
	want(t, result, words, probe.Failure, "does not speak")
	server.Stop()
	result, words = asks(t, p)
	want(t, result, words, probe.Failure, "connection refused")
}

func TestExec(t *testing.T) {
	for name, c := range map[string]struct {
		end runtime.Executed
		err error
		is  probe.Result
		has string
	}{
		"well":        {runtime.Executed{}, nil, probe.Success, ""},
		"badly":       {runtime.Executed{ExitCode: 3, Output: []byte("no\n")}, nil, probe.Failure, "command ended with 3: no"},
		"too late":    {runtime.Executed{TimedOut: true, Ran: time.Second, Output: []byte("so far")}, nil, probe.Failure, "timed out after 1s: so far"},
		"agent stood": {runtime.Executed{TimedOut: true, Ran: time.Minute}, nil, probe.Unknown, ""},
		"no answer":   {runtime.Executed{}, context.DeadlineExceeded, probe.Unknown, ""},
		"not at all":  {runtime.Executed{}, errors.New("no such program"), probe.Unknown, "no such program"},
	} {
		result, words := judgeExec(c.end, c.err, time.Second)
		t.Run(name, func(t *testing.T) { want(t, result, words, c.is, c.has) })
	}
}

// What this machine could not do, or this process did not notice, is no failure of the container's.
func TestOwnTrouble(t *testing.T) {
	for _, own := range []error{unix.EADDRNOTAVAIL, unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.ENETUNREACH} {
		if result, _ := failed(fmt.Errorf("dial: %w", own)); result != probe.Unknown {
			t.Errorf("%v: %s", own, result)
		}
	}
	for _, theirs := range []error{unix.ECONNREFUSED, unix.ECONNRESET, unix.EHOSTUNREACH, context.DeadlineExceeded, io.EOF} {
		if result, _ := failed(theirs); result != probe.Failure {
			t.Errorf("%v: %s", theirs, result)
		}
	}
	w := &Watch{ctx: t.Context()}
	stopped := func(d time.Duration) func(context.Context) (probe.Result, string) {
		return func(ctx context.Context) (probe.Result, string) {
			<-ctx.Done()
			<-time.After(d) // the process does not run
			return probe.Failure, "deadline exceeded"
		}
	}
	result, words := w.within(10*time.Millisecond, stopped(late+10*time.Millisecond))
	want(t, result, words, probe.Unknown, "")
	result, words = w.within(10*time.Millisecond, stopped(0))
	want(t, result, words, probe.Failure, "deadline exceeded")
}
