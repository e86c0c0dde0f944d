package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func testServer() *server {
	return &server{version: "v9", host: "web-1", podIP: "100.64.0.7", exit: func(int) {}}
}

func call(s *server, target, accept string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.RemoteAddr = "100.64.0.9:1234"
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	s.routes().ServeHTTP(w, r)
	return w
}

func TestAnswers(t *testing.T) {
	s := testServer()
	want := `echo v9 host=web-1 pod=100.64.0.7 client=100.64.0.9:1234 request="GET /a?b=c HTTP/1.1"` + "\n"
	if diff := cmp.Diff(want, call(s, "/a?b=c", "").Body.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	var got answer
	if err := json.Unmarshal(call(s, "/", "application/json").Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(answer{"v9", "web-1", "100.64.0.7", "100.64.0.9:1234", "GET / HTTP/1.1"}, got); diff != "" {
		t.Errorf("json (-want +got):\n%s", diff)
	}
}

func TestMisbehaviour(t *testing.T) {
	s := testServer()
	code := -1
	s.exit = func(c int) { code = c }
	call(s, "/exit?code=3", "")
	if code != 3 {
		t.Errorf("exit code = %d, want 3", code)
	}
	call(s, "/allocate?mb=2", "")
	if got := call(s, "/allocate?mb=3", "").Body.String(); got != "holding 5 MiB\n" {
		t.Errorf("allocate answered %q", got)
	}
	if got := call(s, "/sleep?seconds=soon", "").Code; got != http.StatusBadRequest {
		t.Errorf("a bad time answered %d", got)
	}
	if got := call(s, "/healthz", "").Code; got != http.StatusOK {
		t.Errorf("healthz answered %d", got)
	}
	s.ending.Store(true)
	if got := call(s, "/healthz", "").Code; got != http.StatusServiceUnavailable {
		t.Errorf("healthz of an ending server answered %d", got)
	}
}

// An open request is answered although the end was asked for; UDP and the built-in client work on the way.
func TestServeAndEndGracefully(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- testServer().run(ctx, address, 5*time.Second) }()
	deadline := time.Now().Add(5 * time.Second)
	for {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	var udp strings.Builder
	if err := client([]string{"udp", address, "hello"}, &udp); err != nil || !strings.Contains(udp.String(), `request="hello"`) {
		t.Errorf("udp answered %q, %v", udp.String(), err)
	}
	var slow strings.Builder
	answered := make(chan error, 1)
	go func() { answered <- client([]string{"get", "http://" + address + "/sleep?seconds=0.3"}, &slow) }()
	time.AfterFunc(100*time.Millisecond, end)
	if err := <-answered; err != nil || !strings.HasPrefix(slow.String(), "echo v9") {
		t.Errorf("the open request got %q, %v", slow.String(), err)
	}
	if err := <-ended; err != nil {
		t.Errorf("end: %v", err)
	}
}
