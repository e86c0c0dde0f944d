package stdio

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const at = "2026-01-02T03:04:05.678901234Z "

func TestTail(t *testing.T) {
	long := strings.Repeat("x", 16384)
	for name, tc := range map[string]struct {
		log         string
		lines, most int
		want        string
	}{
		"nothing":                     {"", 80, 2048, ""},
		"all":                         {at + "stdout F one\n" + at + "stderr F two\n", 80, 2048, "one\ntwo\n"},
		"the last lines":              {at + "stdout F one\n" + at + "stdout F two\n" + at + "stdout F three\n", 2, 2048, "two\nthree\n"},
		"the last bytes":              {at + "stdout F one\n" + at + "stdout F two\n", 80, 6, "e\ntwo\n"},
		"a line in pieces":            {at + "stdout P on\n" + at + "stdout F e\n", 80, 2048, "one\n"},
		"a line without its end":      {at + "stdout F one\n" + at + "stdout P tw\n", 80, 2048, "one\ntw"},
		"an empty line":               {at + "stdout F one\n" + at + "stdout F \n", 80, 2048, "one\n\n"},
		"something that is no record": {"what\n" + at + "stdout F one\n\n" + at + "other F two\n", 80, 2048, "one\n"},
		"more than is looked at":      {strings.Repeat(at+"stdout F "+long+"\n", 5), 80, 2048, long[:2047] + "\n"},
	} {
		path := filepath.Join(t.TempDir(), "0.log")
		if err := os.WriteFile(path, []byte(tc.log), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Tail(path, tc.lines, tc.most); err != nil || got != tc.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, tc.want)
		}
	}
	if got, err := Tail(filepath.Join(t.TempDir(), "0.log"), 80, 2048); got != "" || err != nil {
		t.Errorf("no log: %q, %v", got, err)
	}
}

func FuzzTail(f *testing.F) {
	f.Add(at+"stdout F one\n"+at+"stderr P two", 3, 10)
	f.Add("\n\n a b", 1, 1)
	f.Fuzz(func(t *testing.T, records string, lines, most int) {
		lines, most = max(0, lines), max(0, most)
		got := tailOf(records, lines, most)
		if len(got) > most || strings.Count(got, "\n") > lines {
			t.Errorf("%q of at most %d lines and %d bytes", got, lines, most)
		}
	})
}
