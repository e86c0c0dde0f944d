package containerd

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// A registry names the server of tokens, which can say as much as it likes.
func TestTokensAreBounded(t *testing.T) {
	var sent atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size := 64 << 20
		if r.URL.Path == "/small" {
			size = 1000
		}
		_, _ = w.Write([]byte(`{"token":"`))
		for range size / 1000 {
			n, err := w.Write([]byte(strings.Repeat("x", 1000)))
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
		_, _ = w.Write([]byte(`"}`))
	}))
	defer server.Close()
	speaker := registryClient(nil)
	defer speaker.CloseIdleConnections()
	for path, fits := range map[string]bool{"/small": true, "/large": false} {
		response, err := tokenClient(speaker).Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		var token struct{ Token string }
		err = json.NewDecoder(response.Body).Decode(&token)
		_ = response.Body.Close()
		if (err == nil) != fits || fits && len(token.Token) != 1000 {
			t.Errorf("%s: %v, a token of %d bytes", path, err, len(token.Token))
		}
	}
	if sent.Load() > 32<<20 {
		t.Errorf("%d bytes were taken", sent.Load())
	}
}
