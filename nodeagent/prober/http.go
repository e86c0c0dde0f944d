package prober

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/probe"
)

const (
	// userAgent begins as a kubelet's: servers and proxies know probes by it.
	userAgent = "kube-probe/1.37 (miniplane)"
	// maxRedirects is how many redirects are followed.
	maxRedirects = 10
	// maxHeaders bounds the headers of an answer, in bytes.
	maxHeaders = 64 << 10
)

// newTransport has a connection of its own for each request, as a kubelet: what is asked is whether one is to be had.
func newTransport(dialer *net.Dialer) http.RoundTripper {
	return &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10}, // who it is does not matter, but that it answers
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeaders,
	}
}

// askHTTP succeeds with an answer from 200 to 399.
func (w *Watch) askHTTP(ctx context.Context, action *miniv1.HTTPGetAction) (probe.Result, string) {
	request, err := w.request(ctx, action)
	if err != nil {
		return probe.Unknown, err.Error()
	}
	client := http.Client{Transport: w.prober.http, CheckRedirect: sameHost}
	answer, err := client.Do(request)
	if err != nil {
		return failed(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return failed(fmt.Errorf("read the answer: %w", err))
	}
	if answer.StatusCode < http.StatusOK || answer.StatusCode >= http.StatusBadRequest {
		words := fmt.Sprintf("HTTP probe failed with statuscode: %d", answer.StatusCode)
		if text := strings.TrimSpace(string(body)); text != "" {
			words += ": " + text
		}
		return probe.Failure, words
	}
	return probe.Success, ""
}

var errRedirects = errors.New("stopped after 10 redirects")

// sameHost follows redirects within one host; where one leads elsewhere, it is the answer.
func sameHost(next *http.Request, via []*http.Request) error {
	switch {
	case next.URL.Hostname() != via[0].URL.Hostname():
		return http.ErrUseLastResponse
	case len(via) >= maxRedirects:
		return errRedirects
	}
	return nil
}

func (w *Watch) request(ctx context.Context, action *miniv1.HTTPGetAction) (*http.Request, error) {
	address, err := w.target.address(action.Host, action.Port)
	if err != nil {
		return nil, err
	}
	scheme := "http"
	if action.Scheme == corev1.URISchemeHTTPS {
		scheme = "https"
	}
	path := action.Path
	if path == "" {
		path = "/"
	}
	at, err := url.Parse(path)
	if err != nil { // let the server judge it
		at = &url.URL{Path: path}
	}
	at.Scheme, at.Host = scheme, address
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	setHeaders(request, action.HTTPHeaders)
	return request, nil
}

// setHeaders adds the given headers. One that everybody has is left out where it is given without a value.
func setHeaders(request *http.Request, headers []miniv1.HTTPHeader) {
	for _, h := range headers {
		if strings.EqualFold(h.Name, "Host") {
			request.Host = h.Value
			continue
		}
		request.Header.Add(h.Name, h.Value)
	}
	for name, usual := range map[string]string{"User-Agent": userAgent, "Accept": "*/*"} {
		switch values := request.Header.Values(name); {
		case len(values) == 0:
			request.Header.Set(name, usual)
		case values[0] == "" && name != "User-Agent": // without a User-Agent of its own, the library would send its own
			request.Header.Del(name)
		}
	}
}
