package patience

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

var errAway = errors.New("connection refused")

// server is away until a moment.
type server struct {
	backAt time.Time
	tries  int
}

func (s *server) RoundTrip(*http.Request) (*http.Response, error) {
	s.tries++
	if time.Now().Before(s.backAt) {
		return nil, errAway
	}
	return &http.Response{StatusCode: http.StatusTooManyRequests, Body: http.NoBody}, nil
}

// ask makes a request of the server with patience, and returns the status of the answer.
func (s *server) ask(r *http.Request) (int, error) {
	resp, err := Transport(s).RoundTrip(r)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func request(ctx context.Context, t *testing.T, method, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A watch is opened within a second of the server's return, and any answer is an answer.
func TestWatchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{backAt: time.Now().Add(time.Minute)}
		status, err := s.ask(request(t.Context(), t, http.MethodGet, "https://api/pods?watch=true"))
		if err != nil || status != http.StatusTooManyRequests {
			t.Fatalf("%d, %v", status, err)
		}
		if late := time.Since(s.backAt); late > longestWait {
			t.Errorf("opened %s after the return", late)
		}
		if s.tries > 70 {
			t.Errorf("%d tries in a minute", s.tries)
		}
	})
}

func TestWatchEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		s := &server{backAt: time.Now().Add(time.Hour)}
		if _, err := s.ask(request(ctx, t, http.MethodGet, "https://api/pods?watch=true")); !errors.Is(err, errAway) {
			t.Errorf("error %v", err)
		}
	})
}

// Whoever waits for an answer hears at once that there is none.
func TestOthersFailAtOnce(t *testing.T) {
	for _, r := range []*http.Request{
		request(t.Context(), t, http.MethodGet, "https://api/pods"),
		request(t.Context(), t, http.MethodGet, "https://api/pods?watch=false"),
		request(t.Context(), t, http.MethodPost, "https://api/pods?watch=true"),
	} {
		s := &server{backAt: time.Now().Add(time.Hour)}
		if _, err := s.ask(r); !errors.Is(err, errAway) || s.tries != 1 {
			t.Errorf("%s %s: %v after %d tries", r.Method, r.URL, err, s.tries)
		}
	}
}
