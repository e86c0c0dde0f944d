// Package patience lets watches wait for an API server that is away.
//
// A watch that cannot be opened fails, and client-go opens the next one after a back-off that grows to half a minute and more;
// after an outage everybody therefore goes on knowing nothing for up to a minute. Here the request to open a watch is held
// instead, and made again a few times a second, so that the first one that can be answered is. Only opening is held: other
// requests fail at once, for somebody waits for their answer.
package patience

import (
	"net/http"
	"time"
)

// The waits between two tries, doubled from the first to the longest. Thousands of agents share the API server that comes back,
// and it holds off whom it cannot serve yet (429), so they need not be longer.
const (
	firstWait   = 50 * time.Millisecond
	longestWait = time.Second
)

// Transport makes requests by next. Those that open a watch return when they were answered, whatever the answer is, or when
// their context ends; the error is then that of the last try.
func Transport(next http.RoundTripper) http.RoundTripper { return transport{next} }

type transport struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if r.Method != http.MethodGet || r.URL.Query().Get("watch") != "true" {
		return resp, err
	}
	for wait := firstWait; err != nil; wait = min(2*wait, longestWait) {
		timer := time.NewTimer(wait)
		select {
		case <-r.Context().Done():
			timer.Stop()
			return nil, err
		case <-timer.C:
		}
		resp, err = t.next.RoundTrip(r)
	}
	return resp, err
}
