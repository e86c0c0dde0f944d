package page

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(path, []byte("# Head\n\n<!-- here -->\nold\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Write(path, "<!-- here -->", "new\n"); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "# Head\n\n<!-- here -->\nnew\n" {
		t.Errorf("%q, %v", text, err)
	}
	if err := Write(path, "<!-- elsewhere -->", ""); err == nil || !strings.Contains(err.Error(), "no line <!-- elsewhere -->") {
		t.Errorf("without the marker: %v", err)
	}
}
