package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const clientTimeout = 5 * time.Second

// client asks once and prints the answer.
func client(args []string, out io.Writer) error {
	switch {
	case args[0] == "get" && len(args) == 2:
		return get(args[1], out)
	case args[0] == "udp" && len(args) == 3:
		return ask(args[1], args[2], out)
	}
	return errors.New("usage: echo get URL | echo udp ADDRESS TEXT")
}

func get(url string, out io.Writer) error {
	web := http.Client{Timeout: clientTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := web.Get(url)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(out, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

func ask(address, text string, out io.Writer) error {
	conn, err := net.DialTimeout("udp", address, clientTimeout)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(clientTimeout)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	n, err := conn.Read(buf)
	if err != nil {
		return err
	}
	_, err = out.Write(buf[:n])
	return err
}
