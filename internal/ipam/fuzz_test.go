package ipam

import (
	"testing"
)

// A range of ports that is read has ports in it, all of which a port can have.
func FuzzParsePortRange(f *testing.F) {
	for _, text := range []string{"30000-32767", "22", "1-65535", "0-1", "9-8", "-", "65536", "1-2-3", "+1-2"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParsePortRange(text)
		if err != nil {
			return
		}
		if r.First < 1 || r.Last < r.First || r.Last > 65535 {
			t.Errorf("%q became %+v", text, r)
		}
	})
}
