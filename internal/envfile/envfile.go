// Package envfile reads the files that variables of containers come from, in the format of a kubelet's fileKeyRef.
//
// Idea. The format is the small part of a shell's in which nothing has a second meaning. A line is empty, a comment that begins with #, or
// NAME='value', where what is between the quotes is taken as it is, over as many lines as it takes; behind the second quote there may be
// a comment. Blanks may stand before a line, and none around the = but that NAME= followed by a blank is, as in a shell, an empty value.
//
// As for a kubelet, of two values of a name the first counts, a value that is empty is as good as none, and whoever asks for a name that
// stands above the first line which is no such line is given it.
//
// What makes it hard: a file is a tenant's, and may be anything. Nothing of it is in an error, as it may be a secret, but the number of a line.
package envfile

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// File is what was read of a file.
type File struct {
	values map[string]string
	broken error // what is wrong with the first line that is none
}

// blanks are what may stand before a line, and after a value.
const blanks = " \t"

// Read reads the text of a file.
func Read(text string) File {
	lines := reader{rest: text}
	out := File{values: map[string]string{}}
	for lines.next() {
		name, value, err := lines.variable()
		if err != nil {
			out.broken = err
			break
		}
		if _, earlier := out.values[name]; !earlier && name != "" {
			out.values[name] = value
		}
	}
	return out
}

// Value is that of a name; empty where there is none. It is an error if it cannot be a variable's, or if nobody knows what stands below a line that
// is none.
func (f File) Value(name string) (string, error) {
	value, there := f.values[name]
	switch {
	case !there:
		return "", f.broken
	case !utf8.ValidString(value) || strings.ContainsRune(value, 0):
		return "", errors.New("the value is no text: it is not in UTF-8, or has a zero byte in it")
	}
	return value, nil
}

// reader goes through the lines of a text.
type reader struct {
	rest   string
	line   string
	number int
}

// next goes to the next line, which may end with a carriage return too; false at the end.
func (r *reader) next() bool {
	if r.rest == "" {
		return false
	}
	r.line, r.rest, _ = strings.Cut(r.rest, "\n")
	r.line = strings.TrimSuffix(r.line, "\r")
	r.number++
	return true
}

// wrong is what is wrong with the line.
func (r *reader) wrong(what string) error { return fmt.Errorf("line %d: %s", r.number, what) }

// variable is the one that begins in this line; none where it has no name.
func (r *reader) variable() (name, value string, err error) {
	line := strings.TrimLeft(r.line, blanks)
	if line == "" || line[0] == '#' {
		return "", "", nil
	}
	name, quoted, has := strings.Cut(line, "=")
	switch {
	case !has:
		return "", "", r.wrong("it has no =")
	case name == "":
		return "", "", r.wrong("there is no name before the =")
	case strings.TrimRight(name, blanks) != name:
		return "", "", r.wrong("there must be no blank before the =")
	case quoted != "" && strings.Contains(blanks, quoted[:1]):
		return name, "", nil
	case !strings.HasPrefix(quoted, "'"):
		return "", "", r.wrong("the value must be in single quotes")
	}
	value, err = r.value(quoted[1:])
	return name, value, err
}

// value is what there is up to the second quote, in this line or in one below.
func (r *reader) value(text string) (string, error) {
	var out strings.Builder
	begin := r.number
	for {
		part, after, ends := strings.Cut(text, "'")
		out.WriteString(part)
		if ends {
			if after = strings.TrimLeft(after, blanks); after != "" && after[0] != '#' {
				return "", r.wrong("there must be nothing after the value but a comment")
			}
			return out.String(), nil
		}
		if !r.next() {
			return "", fmt.Errorf("line %d: the value has no end: there is no second quote", begin)
		}
		out.WriteByte('\n')
		text = r.line
	}
}
