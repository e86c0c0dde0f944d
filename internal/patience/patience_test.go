package patience

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
)

var errAway = errors.New("connection refused")

// server is away until a moment.
type server struct {
	backAt time.Time
	tries  int
	log    []string
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
	log := funcr.New(func(_, args string) { s.log = append(s.log, args) }, funcr.Options{})
	resp, err := Wrapper(log)(s).RoundTrip(r)
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
		if s.tries > 125 {
			t.Errorf("%d tries in a minute", s.tries)
		}
		want := []string{
			`"level"=0 "msg"="The API server does not answer; watches wait for it" "err"="connection refused"`,
			`"level"=0 "msg"="No watch waits for the API server any more" "waited"="`,
		}
		if len(s.log) != 2 || s.log[0] != want[0] || !strings.HasPrefix(s.log[1], want[1]) {
			t.Errorf("log %q", s.log)
		}
	})
}

// hung takes requests and answers them after a while.
type hung struct{ after time.Duration }

func (h hung) RoundTrip(*http.Request) (*http.Response, error) {
	<-time.After(h.after)
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

// A server that takes watches and does not answer them fails nobody: it is said all the same, once for all of them, and once when it is over.
// One that is only slow is not spoken of.
func TestSilenceIsSaid(t *testing.T) {
	for after, want := range map[time.Duration][]string{
		5 * time.Second: nil,
		time.Minute: {
			`"level"=0 "msg"="The API server does not answer; watches wait for it" "err"="no answer within 10s"`,
			`"level"=0 "msg"="No watch waits for the API server any more" "waited"="50s"`,
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			var log []string
			transport := Wrapper(funcr.New(func(_, args string) { log = append(log, args) }, funcr.Options{}))(hung{after})
			var group sync.WaitGroup
			for range 5 {
				group.Go(func() {
					resp, err := transport.RoundTrip(request(t.Context(), t, http.MethodGet, "https://api/pods?watch=true"))
					if err != nil {
						t.Error(err)
						return
					}
					_ = resp.Body.Close()
				})
			}
			group.Wait()
			synctest.Wait()
			if !slices.Equal(log, want) {
				t.Errorf("after %s: log %q, want %q", after, log, want)
			}
		})
	}
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
		if _, err := s.ask(r); !errors.Is(err, errAway) || s.tries != 1 || len(s.log) != 0 {
			t.Errorf("%s %s: %v after %d tries", r.Method, r.URL, err, s.tries)
		}
	}
}

// Watches that were lost in one moment are not opened again in one.
func TestWatchesComeBackApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := time.Now().Add(time.Minute)
		var mu sync.Mutex
		late := map[time.Duration]bool{}
		var watches sync.WaitGroup
		for range 20 {
			watches.Go(func() {
				s := &server{backAt: back}
				if _, err := s.ask(request(t.Context(), t, http.MethodGet, "https://api/pods?watch=true")); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				late[time.Since(back)] = true
			})
		}
		watches.Wait()
		if len(late) < 10 {
			t.Errorf("20 watches came back at %d moments", len(late))
		}
	})
}
