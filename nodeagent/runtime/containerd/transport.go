package containerd

import (
	"io"
	"net/http"
	"sync"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

// transport tells who wants to know how a pull comes on: that nothing comes shows only here.
type transport struct {
	*http.Transport
	progress runtime.PullProgress
}

// registryClient speaks to registries for one pull.
func registryClient(progress runtime.PullProgress) *http.Client {
	base := http.DefaultTransport.(*http.Transport).Clone()
	if progress == nil {
		return &http.Client{Transport: base}
	}
	return &http.Client{Transport: transport{base, progress}}
}

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(request *http.Request) (*http.Response, error) {
	t.progress.Request(1)
	response, err := t.Transport.RoundTrip(request)
	if err != nil {
		t.progress.Request(-1)
		return nil, err
	}
	response.Body = &body{ReadCloser: response.Body, progress: t.progress}
	return response, nil
}

// body is an answer that is being read.
type body struct {
	io.ReadCloser
	progress runtime.PullProgress
	once     sync.Once
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.progress.Bytes(n)
	}
	if err != nil {
		b.end()
	}
	return n, err
}

func (b *body) Close() error {
	b.end()
	return b.ReadCloser.Close()
}

func (b *body) end() { b.once.Do(func() { b.progress.Request(-1) }) }

// maxToken bounds what is read of a token, in bytes: the registry says where tokens come from, and the whole answer is decoded.
const maxToken = 1 << 20

// tokenClient is a client for the servers of tokens that a registry names.
func tokenClient(of *http.Client) *http.Client {
	return &http.Client{Transport: boundedBody{of.Transport, maxToken}}
}

// boundedBody reads at most so many bytes of each answer.
type boundedBody struct {
	http.RoundTripper
	most int64
}

// RoundTrip implements http.RoundTripper.
func (b boundedBody) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := b.RoundTripper.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = http.MaxBytesReader(nil, response.Body, b.most)
	return response, nil
}
