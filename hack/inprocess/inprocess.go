// Package inprocess asks an HTTP handler without a network: so a registry is filled before anybody can reach it.
package inprocess

import (
	"net/http"
	"net/http/httptest"
)

// Transport has its handler answer all requests, whatever host they are for.
type Transport struct{ Handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (t Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	t.Handler.ServeHTTP(w, r)
	answer := w.Result()
	answer.Request = r
	return answer, nil
}
