package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const clientTimeout = 5 * time.Second

// client asks once and prints the answer.
func client(args []string, out io.Writer) error {
	switch {
	case args[0] == "get" && len(args) == 2:
		return get(&http.Transport{DisableKeepAlives: true}, args[1], nil, out)
	case args[0] == "api" && len(args) == 2:
		return askAPI(accountDir, args[1], out)
	case args[0] == "udp" && len(args) == 3:
		return ask(args[1], args[2], out)
	}
	return errors.New("usage: echo get URL | echo api URL | echo udp ADDRESS TEXT")
}

// accountDir is where clients of the API server find who they are, and who it is.
const accountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// askAPI asks an API server as the ServiceAccount whose token is in the directory, and believes only the authority that is there.
func askAPI(dir, url string, out io.Writer) error {
	token, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil {
		return err
	}
	authority, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	return get(transport, url, http.Header{"Authorization": {"Bearer " + string(token)}}, out)
}

func get(by *http.Transport, url string, with http.Header, out io.Writer) error {
	request, err := http.NewRequest(http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	maps.Copy(request.Header, with)
	web := http.Client{Timeout: clientTimeout, Transport: by}
	resp, err := web.Do(request)
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
