package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// answer is what the server tells about itself and the request.
type answer struct {
	Version string `json:"version"`
	Host    string `json:"host"`
	PodIP   string `json:"podIP"`
	Client  string `json:"client"`
	Request string `json:"request"`
}

func (a answer) String() string {
	return fmt.Sprintf("echo %s host=%s pod=%s client=%s request=%q\n", a.Version, a.Host, a.PodIP, a.Client, a.Request)
}

type server struct {
	version, host, podIP string
	exit                 func(int)
	ending               atomic.Bool

	mu   sync.Mutex
	held [][]byte
}

func newServer(version string) *server {
	host, _ := os.Hostname()
	return &server{version: version, host: host, podIP: podIP(), exit: os.Exit}
}

// run serves until ctx ends, then lets open requests finish within the grace.
func (s *server) run(ctx context.Context, address string, grace time.Duration) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	packets, err := net.ListenPacket("udp", listener.Addr().String())
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	fmt.Printf("echo %s: listening on %s, tcp and udp\n", s.version, listener.Addr())
	go s.serveUDP(packets)
	web := &http.Server{Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(listener) }()
	select {
	case err = <-failed:
	case <-ctx.Done():
		s.ending.Store(true)
		end, cancel := context.WithTimeout(context.Background(), grace)
		defer cancel()
		err = web.Shutdown(end)
	}
	return errors.Join(err, packets.Close())
}

func (s *server) serveUDP(packets net.PacketConn) {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := packets.ReadFrom(buf)
		if err != nil {
			return
		}
		text := s.about(from.String(), strings.TrimSpace(string(buf[:n]))).String()
		_, _ = packets.WriteTo([]byte(text), from)
	}
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", s.health)
	mux.HandleFunc("/exit", func(w http.ResponseWriter, r *http.Request) { s.exit(queryInt(r, "code", 0)) })
	mux.HandleFunc("/allocate", s.allocate)
	mux.HandleFunc("/sleep", s.sleep)
	mux.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Join(os.Environ(), "\n")+"\n")
	})
	mux.HandleFunc("/", s.echo)
	return mux
}

func (s *server) echo(w http.ResponseWriter, r *http.Request) {
	a := s.about(r.RemoteAddr, fmt.Sprintf("%s %s %s", r.Method, r.URL.RequestURI(), r.Proto))
	if r.URL.Query().Get("format") == "json" || strings.Contains(r.Header.Get("Accept"), "application/json") {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a)
		return
	}
	_, _ = io.WriteString(w, a.String())
}

func (s *server) about(client, request string) answer {
	return answer{Version: s.version, Host: s.host, PodIP: s.podIP, Client: client, Request: request}
}

func (s *server) health(w http.ResponseWriter, _ *http.Request) {
	if s.ending.Load() {
		http.Error(w, "ending", http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}

// allocate takes memory and touches every page of it, so that it counts.
func (s *server) allocate(w http.ResponseWriter, r *http.Request) {
	block := make([]byte, queryInt(r, "mb", 1)<<20)
	for i := 0; i < len(block); i += 4096 {
		block[i] = 1
	}
	s.mu.Lock()
	s.held = append(s.held, block)
	total := 0
	for _, b := range s.held {
		total += len(b) >> 20
	}
	s.mu.Unlock()
	_, _ = fmt.Fprintf(w, "holding %d MiB\n", total)
}

func (s *server) sleep(w http.ResponseWriter, r *http.Request) {
	seconds, err := strconv.ParseFloat(r.URL.Query().Get("seconds"), 64)
	if err != nil {
		http.Error(w, "seconds must be a number, as in /sleep?seconds=2", http.StatusBadRequest)
		return
	}
	select {
	case <-time.After(time.Duration(seconds * float64(time.Second))):
		s.echo(w, r)
	case <-r.Context().Done():
	}
}

func queryInt(r *http.Request, name string, fallback int) int {
	if n, err := strconv.Atoi(r.URL.Query().Get(name)); err == nil {
		return n
	}
	return fallback
}

// podIP is $POD_IP or the first address that is not a loopback's.
func podIP() string {
	if ip := os.Getenv("POD_IP"); ip != "" {
		return ip
	}
	addresses, _ := net.InterfaceAddrs()
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() && ip.IP.To4() != nil {
			return ip.IP.String()
		}
	}
	return ""
}
