// Package patience lets watches wait for an API server that is away.
//
// A watch that cannot be opened fails, and client-go opens the next one after a back-off that grows to half a minute and more;
// after an outage everybody therefore goes on knowing nothing for up to a minute. Here the request to open a watch is held
// instead, and made again a few times a second, so that the first one that can be answered is. Only opening is held: other
// requests fail at once, for somebody waits for their answer.
//
// Whoever is held says so in the log, once for all, and once when it is over: also where nothing fails, because the API server, or what
// stands before it, takes the request and does not answer.
package patience

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/transport"

	"miniplane.dev/miniplane/internal/jitter"
)

// The waits between two tries, doubled from the first to the longest. Thousands of agents share the API server that comes back,
// and it holds off whom it cannot serve yet (429), so they need not be longer. Each is shortened by chance, so that they do not ask all at once.
const (
	firstWait   = 50 * time.Millisecond
	longestWait = time.Second
)

// silentAfter is how long an answer may take before the log says that there is none. A server that is only busy has answered by then.
const silentAfter = 10 * time.Second

var errSilent = errors.New("no answer within " + silentAfter.String())

// Wrapper makes transports whose requests to open a watch return when they were answered, whatever the answer is, or when
// their context ends; the error is then that of the last try. The log tells when the first of them begins to wait, and when
// none does any more.
func Wrapper(log logr.Logger) transport.WrapperFunc {
	return func(next http.RoundTripper) http.RoundTripper { return &patient{next: next, log: log} }
}

type patient struct {
	next http.RoundTripper
	log  logr.Logger

	mu      sync.Mutex
	waiting int
	since   time.Time
}

// RoundTrip implements http.RoundTripper.
func (t *patient) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet || r.URL.Query().Get("watch") != "true" {
		return t.next.RoundTrip(r)
	}
	w := &waiting{on: t}
	defer w.end()
	silence := time.AfterFunc(silentAfter, func() { w.begin(errSilent) })
	defer silence.Stop()
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		w.begin(err)
	}
	for wait := firstWait; err != nil; wait = min(2*wait, longestWait) {
		timer := time.NewTimer(jitter.Down(wait))
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

// waiting is one watch that may have to wait. Its fields are guarded by the lock of what it is on.
type waiting struct {
	on           *patient
	begun, ended bool
}

func (w *waiting) begin(err error) {
	t := w.on
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.begun || w.ended {
		return
	}
	w.begun = true
	if t.waiting++; t.waiting == 1 {
		t.since = time.Now()
		t.log.Info("The API server does not answer; watches wait for it", "err", err.Error())
	}
}

func (w *waiting) end() {
	t := w.on
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.ended = true; !w.begun {
		return
	}
	if t.waiting--; t.waiting == 0 {
		t.log.Info("No watch waits for the API server any more", "waited", time.Since(t.since).Round(time.Millisecond).String())
	}
}
