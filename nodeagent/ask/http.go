package ask

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
)

const (
	// maxRedirects is how many redirects are followed.
	maxRedirects = 10
	// MaxHeaders bounds the headers of an answer, in bytes.
	MaxHeaders = 64 << 10
)

// Client asks by HTTP. Use NewClient.
type Client struct{ client http.Client }

// NewClient makes one that has a connection of its own for each request, as a kubelet: what is asked is whether one is to be had.
func NewClient(dialer *net.Dialer) *Client {
	return &Client{http.Client{CheckRedirect: sameHost, Transport: &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10}, // who it is does not matter, but that it answers
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: MaxHeaders,
	}}}
}

// Do sends a request, reads the begin of the answer and tells its status.
func (c *Client) Do(request *http.Request) (int, error) {
	answer, err := c.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	if _, err := io.Copy(io.Discard, io.LimitReader(answer.Body, MaxAnswer)); err != nil {
		return 0, fmt.Errorf("read the answer: %w", err)
	}
	return answer.StatusCode, nil
}

// Unheard tells why a request had no answer, in words that are this machine's alone: people who may read Events need not be those who may read
// what a server says, and the server may be anybody's.
func Unheard(request *http.Request, err error) string {
	for _, own := range []error{errRedirects, http.ErrSchemeMismatch, io.EOF, io.ErrUnexpectedEOF, context.DeadlineExceeded, context.Canceled} {
		if errors.Is(err, own) {
			return err.Error()
		}
	}
	if _, ours := errors.AsType[*net.OpError](err); ours {
		return err.Error()
	}
	return fmt.Sprintf("Get %q: what answers does not speak the protocol", request.URL.Redacted())
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

// Request is the GET of an action, by somebody who calls itself that unless the action says how.
func (t Target) Request(ctx context.Context, action *miniv1.HTTPGetAction, userAgent string) (*http.Request, error) {
	address, err := t.At(action.Host, action.Port)
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
	setHeaders(request, action.HTTPHeaders, userAgent)
	return request, nil
}

// setHeaders adds the given headers. One that everybody has is left out where it is given without a value.
func setHeaders(request *http.Request, headers []miniv1.HTTPHeader, userAgent string) {
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
