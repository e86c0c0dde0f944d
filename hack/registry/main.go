// Command registry is a container registry for one machine's tests: it speaks the real protocol over plain HTTP, keeps its
// images in memory, and is filled at its start from image archives. Each image is there twice: as open/NAME for everybody,
// and as private/NAME behind a password, which is what pull secrets are tested against.
//
//	registry -listen 100.127.255.1:5000 -images .local/images/echo.tar
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:5000", "address to listen on")
	images := flag.String("images", "", "image archives to serve, separated by commas")
	user := flag.String("user", "mini", "user of private/")
	password := flag.String("password", "plane", "password of private/")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, *listen, strings.FieldsFunc(*images, func(r rune) bool { return r == ',' }), *user, *password); err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen string, archives []string, user, password string) error {
	store, err := newStore(archives)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Printf("registry: http://%s; private/ wants user %q, password %q\n", listener.Addr(), user, password)
	server := &http.Server{Handler: guard(store, user, password), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
