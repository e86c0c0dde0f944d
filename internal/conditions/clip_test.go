package conditions

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestClip(t *testing.T) {
	for _, c := range []struct {
		text string
		most int
		want string
	}{
		{"whole", 5, "whole"}, {"whole", 4, "whol"}, {"", 0, ""}, {"x", 0, ""}, {"x", -1, ""},
		{"aé", 3, "aé"}, {"aé", 2, "a"}, {"世界", 5, "世"}, {"世界", 2, ""},
		{"a\xff", 9, "a�"}, {"a\xff", 3, "a"},
	} {
		if got := Clip(c.text, c.most); got != c.want {
			t.Errorf("Clip(%q, %d) = %q, want %q", c.text, c.most, got, c.want)
		}
	}
}

func FuzzClip(f *testing.F) {
	f.Add("plain", 3)
	f.Add("ünïcödé", 4)
	f.Add("\xff\xfe", 4)
	f.Fuzz(func(t *testing.T, text string, most int) {
		got := Clip(text, most)
		whole := strings.ToValidUTF8(text, "�")
		switch {
		case len(got) > max(most, 0):
			t.Errorf("%d bytes, not at most %d", len(got), most)
		case !utf8.ValidString(got):
			t.Errorf("%q is not UTF-8", got)
		case utf8.ValidString(text) && !strings.HasPrefix(text, got):
			t.Errorf("%q does not begin with %q", text, got)
		case utf8.ValidString(text) && most >= len(whole) && got != whole:
			t.Errorf("%q was cut without need to %q", text, got)
		case utf8.ValidString(text) && most >= 4 && len(got) < min(len(whole), most-3):
			t.Errorf("%q was cut to %q, by more than a character", text, got)
		}
	})
}
