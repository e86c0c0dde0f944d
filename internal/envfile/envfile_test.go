package envfile

import (
	"regexp"
	"strings"
	"testing"
)

func TestValue(t *testing.T) {
	for name, c := range map[string]struct{ text, want, wrong string }{
		"one line":                        {text: "A='x'", want: "x"},
		"with an end of line":             {text: "A='x'\n", want: "x"},
		"with carriage returns":           {text: "B='1'\r\nA='x'\r\n", want: "x"},
		"blanks before it":                {text: " \t A='x'", want: "x"},
		"after others, and a comment":     {text: "# about\n\n  # more\n \t\nB='1'\nA='x' # of it\n", want: "x"},
		"a comment without a blank":       {text: "A='x'# of it", want: "x"},
		"blanks after it":                 {text: "A='x' \t", want: "x"},
		"blanks in it":                    {text: "A='  x  y '", want: "  x  y "},
		"over lines":                      {text: "A='x\n\n  y\n# z'\nB='1'", want: "x\n\n  y\n# z"},
		"over lines, carriage returns":    {text: "A='x\r\ny'\r\n", want: "x\ny"},
		"nothing is expanded, or escaped": {text: `A='$B ${B} $(B) \n \\ " # ='`, want: `$B ${B} $(B) \n \\ " # =`},
		"other scripts":                   {text: "A='中文 🌍'", want: "中文 🌍"},
		"a name with a blank":             {text: "export A='y'\nA='x'", want: "x"},
		"of two the first":                {text: "A='x'\nA='y'", want: "x"},
		"of two the first, if it is none": {text: "A=''\nA='y'"},
		"none":                            {text: "AA='x'\nB='A'\n# A='y'"},
		"nothing":                         {},
		"empty":                           {text: "A=''"},
		"a blank before the quote":        {text: "A= 'x'\nB"},
		"a blank alone":                   {text: "A=\t"},
		"above what is wrong":             {text: "A='x'\nB=y", want: "x"},
		"below what is wrong":             {text: "\nB=y\nA='x'", wrong: "line 2: the value must be in single quotes"},
		"no quotes":                       {text: "A=x", wrong: "line 1: the value must be in single quotes"},
		"nothing after the =":             {text: "A=", wrong: "line 1: the value must be in single quotes"},
		"double quotes":                   {text: `A="x"`, wrong: "line 1: the value must be in single quotes"},
		"a blank before the =":            {text: "B='1'\nA ='x'", wrong: "line 2: there must be no blank before the ="},
		"no name":                         {text: "='x'", wrong: "line 1: there is no name before the ="},
		"no name but blanks":              {text: " \t='x'", wrong: "line 1: there is no name before the ="},
		"no =":                            {text: "# a\nA", wrong: "line 2: it has no ="},
		"no second quote":                 {text: "B='1'\nA='x\n\ny\n", wrong: "line 2: the value has no end"},
		"text after it":                   {text: "A='x'y", wrong: "line 1: there must be nothing after the value but a comment"},
		"two quoted":                      {text: "A='x''y'", wrong: "line 1: there must be nothing after"},
		"text after more lines":           {text: "A='x\ny' z", wrong: "line 2: there must be nothing after"},
		"a zero byte":                     {text: "A='x\x00'", wrong: "the value is no text"},
		"not in UTF-8":                    {text: "A='x\xff'", wrong: "the value is no text"},
		"another is no text":              {text: "B='\xff\x00'\nA='x'", want: "x"},
	} {
		got, err := Read(c.text).Value("A")
		if got != c.want || (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: %q, %v; want %q, %q", name, got, err, c.want, c.wrong)
		}
	}
}

// What an error says could be read by others than the file: nothing of the file is in it.
func TestErrorsKeepSecrets(t *testing.T) {
	const secret = "hunter2"
	for _, text := range []string{secret, secret + "=" + secret, secret + " ='" + secret + "'", "='" + secret + "'", "B='" + secret, "B='' " + secret, "A='" + secret + "\x00'"} {
		if _, err := Read(text).Value("A"); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// The same format once more, as a grammar: an empty line or a comment, a variable that is empty, and one with a value.
var (
	empty    = regexp.MustCompile(`^[ \t]*(#[^\n]*)?(\n|$)`)
	blank    = regexp.MustCompile(`^[ \t]*([^ \t#=\n]|[^ \t#=\n][^=\n]*[^ \t=\n])=[ \t][^\n]*(\n|$)`)
	variable = regexp.MustCompile(`^[ \t]*([^ \t#=\n]|[^ \t#=\n][^=\n]*[^ \t=\n])='([^']*)'[ \t]*(#[^\n]*)?(\n|$)`)
)

// byGrammar is the value of a name, and false if it stands below what is wrong.
func byGrammar(text, name string) (string, bool) {
	for text = regexp.MustCompile(`\r(\n|$)`).ReplaceAllString(text, "$1"); text != ""; {
		if found := empty.FindString(text); found != "" {
			text = text[len(found):]
			continue
		}
		found, value := blank.FindStringSubmatch(text), ""
		if found == nil {
			if found = variable.FindStringSubmatch(text); found == nil {
				return "", false
			}
			value = found[2]
		}
		if found[1] == name {
			return value, true
		}
		text = text[len(found[0]):]
	}
	return "", true
}

func FuzzValue(f *testing.F) {
	for _, text := range []string{"", "A='x'", " A= 'x'\nB='y\nz' # c\n", "# c\n\nA='\r\nx'\r\n", "A=x", "A", "='x'", "A ='x'", "A='x", "A='x'y", "A''='x'", "A\x00='\xff'", "#A='x'", "B='1'A='2'", "\t#\n A='#'"} {
		f.Add(text, "A")
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		got, err := Read(text).Value(name)
		want, ok := byGrammar(text, name)
		if strings.ContainsRune(want, 0) || strings.ToValidUTF8(want, "") != want {
			want, ok = "", false
		}
		if got != want || (err == nil) != ok {
			t.Errorf("%q of %q is %q, %v; by the grammar %q, %v", name, text, got, err, want, ok)
		}
	})
}
