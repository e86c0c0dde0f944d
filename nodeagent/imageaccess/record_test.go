package imageaccess

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

func auth(user, password, secret string) runtime.RegistryAuth {
	return runtime.RegistryAuth{Registry: "r", Username: user, Password: password, Secret: secret}
}

func salt(n byte) []byte { return bytes.Repeat([]byte{n}, SaltBytes) }

var (
	nobody = runtime.RegistryAuth{}
	ann    = auth("ann", "pw", "team-a/pull/uid-1")
	bob    = auth("bob", "pw", "team-b/pull/uid-2")
)

// Who may run an image after these pulls of one name. A pull of other content is of another image.
func TestWhoMayRun(t *testing.T) {
	type pull struct {
		by    runtime.RegistryAuth
		other bool
	}
	by := func(auths ...runtime.RegistryAuth) []runtime.RegistryAuth { return auths }
	for name, tc := range map[string]struct {
		pulls []pull
		shows []runtime.RegistryAuth
		want  bool
	}{
		"preloaded, for nobody":                       {nil, nil, true},
		"pulled without a credential, for nobody":     {[]pull{{by: nobody}}, nil, true},
		"pulled with one, for nobody":                 {[]pull{{by: ann}}, nil, false},
		"pulled with one, for the same":               {[]pull{{by: ann}}, by(ann), true},
		"for another":                                 {[]pull{{by: ann}}, by(bob), false},
		"for one of several":                          {[]pull{{by: ann}}, by(bob, ann), true},
		"the same credential in another Secret":       {[]pull{{by: ann}}, by(auth("ann", "pw", "team-c/x/uid-3")), true},
		"the same Secret with another password":       {[]pull{{by: ann}}, by(auth("ann", "new", ann.Secret)), true},
		"a Secret of the same name, made anew":        {[]pull{{by: ann}}, by(auth("ann", "guess", "team-a/pull/uid-9")), false},
		"the same user with a wrong password":         {[]pull{{by: ann}}, by(auth("ann", "guess", "")), false},
		"the same password of another user":           {[]pull{{by: ann}}, by(auth("eve", "pw", "")), false},
		"words that are only divided otherwise":       {[]pull{{by: auth("a", "b", "")}}, by(auth("a\x00b", "", "")), false},
		"no credential from no Secret is none":        {[]pull{{by: auth("ann", "pw", "")}}, by(nobody), false},
		"the registry gave it to both: the first":     {[]pull{{by: ann}, {by: bob}}, by(ann), true},
		"the registry gave it to both: the second":    {[]pull{{by: ann}, {by: bob}}, by(bob), true},
		"later the registry gives it to everybody":    {[]pull{{by: ann}, {by: nobody}}, nil, true},
		"what is free stays free":                     {[]pull{{by: nobody}, {by: ann}}, nil, true},
		"other content under the name is not free":    {[]pull{{by: nobody}, {by: ann, other: true}}, nil, false},
		"nor for those who had what was there before": {[]pull{{by: ann}, {by: bob, other: true}}, by(ann), false},
	} {
		t.Run(name, func(t *testing.T) {
			record := Record{}
			for i, p := range tc.pulls {
				same := i > 0 && !p.other
				record = Parse(After(Pull{Auth: p.by, Same: same, Before: record, Salt: salt(byte(i))}).String())
			}
			if got := record.Admits(tc.shows); got != tc.want {
				t.Errorf("%t, by %q", got, record)
			}
		})
	}
}

// What was on the node before is free, whoever pulls it after.
func TestPreloadedStaysFree(t *testing.T) {
	if r := After(Pull{Auth: ann, Same: true, Salt: salt(1)}); !r.Free() || r.String() != "" {
		t.Errorf("record %q", r)
	}
}

func TestUnreadableAdmitsNobody(t *testing.T) {
	good := After(Pull{Auth: ann, Salt: salt(1)}).String()
	for _, text := range []string{"v1", "v2" + good[2:], "v1 AAAA c,s", good + " ", good + " x", strings.Replace(good, ",", ";", 1), " ", "free"} {
		r := Parse(text)
		if r.Free() || r.Admits([]runtime.RegistryAuth{ann}) {
			t.Errorf("%q admits somebody", text)
		}
		if again := After(Pull{Auth: bob, Same: true, Before: r, Salt: salt(2)}); !again.Admits([]runtime.RegistryAuth{bob}) || again.Admits([]runtime.RegistryAuth{ann}) {
			t.Errorf("%q after a pull: %q", text, again)
		}
	}
}

// A record fits into a label, however many come, and tells nothing of what was shown.
func TestRecordsAreBounded(t *testing.T) {
	record := Record{}
	of := func(i int) runtime.RegistryAuth {
		return auth(fmt.Sprint("user-", i), "hunter2", fmt.Sprintf("%s/%s/%d", strings.Repeat("n", 63), strings.Repeat("s", 253), i))
	}
	for i := range 3 * maxHolders {
		record = After(Pull{Auth: of(i % (2 * maxHolders)), Same: i > 0, Before: record, Salt: salt(byte(i))})
	}
	text := record.String()
	if len(text) > 3500 || strings.Contains(text, "hunter2") || strings.Contains(text, "user") || strings.Contains(text, "nnn") {
		t.Errorf("a record of %d bytes: %s", len(text), text)
	}
	record = Parse(text)
	if !record.Admits([]runtime.RegistryAuth{of(maxHolders - 1)}) || record.Admits([]runtime.RegistryAuth{of(2*maxHolders - 1)}) {
		t.Error("those that came last are not remembered, or others are")
	}
	if other := After(Pull{Auth: ann, Salt: salt(9)}); other.String() == After(Pull{Auth: ann, Salt: salt(8)}).String() {
		t.Error("two records of one credential are alike")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("")
	f.Add("v1 x y")
	f.Add(After(Pull{Auth: ann, Salt: salt(1)}).String())
	f.Fuzz(func(t *testing.T, text string) {
		r := Parse(text)
		if r.Free() != (text == "") {
			t.Fatalf("%q is free: %t", text, r.Free())
		}
		if !r.broken && text != "" && r.String() != text {
			t.Fatalf("%q became %q", text, r.String())
		}
		if r.Admits([]runtime.RegistryAuth{nobody}) != r.Free() {
			t.Fatalf("%q admits nobody in particular", text)
		}
	})
}
