// Command echo is the server that tests and the demo run in containers: it answers every request with who answered and
// what was asked, over HTTP and UDP on one port, so that a client sees which backend its connection reached.
//
// It misbehaves on request, for tests of restarts, limits and graceful ends. It is one static program without files, so
// that its image is a single layer; `echo get URL` and `echo udp ADDRESS TEXT` make it a client where there is no other, and
// `echo api URL` one of an API server, with its ServiceAccount's token.
//
//	/healthz            200, and 503 once it is ending
//	/exit?code=3        ends with this code
//	/allocate?mb=100    takes this much more memory and keeps it
//	/sleep?seconds=2    answers after this time (fractions work)
//	/env                its environment, a line each
//	anything else       one line of text; JSON with ?format=json or "Accept: application/json"
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 && slices.Contains([]string{"get", "api", "udp"}, os.Args[1]) {
		if err := client(os.Args[1:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "echo:", err)
			os.Exit(1)
		}
		return
	}
	port := flag.Int("port", envInt("ECHO_PORT", 8080), "port for HTTP and UDP ($ECHO_PORT)")
	version := flag.String("version", envOr("ECHO_VERSION", "dev"), "version shown in answers ($ECHO_VERSION)")
	grace := flag.Duration("grace", 10*time.Second, "time for open requests after SIGTERM")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	s := newServer(*version)
	if err := s.run(ctx, fmt.Sprintf(":%d", *port), *grace); err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
	fmt.Println("echo: ended in peace")
}

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

func envInt(name string, fallback int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return fallback
}
