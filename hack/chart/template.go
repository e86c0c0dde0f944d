package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

// An insert writes what stands at a place of a template instead of a fixed value. In the object that place holds a token,
// which ends up alone on a line of YAML.
type insert func(at place) string

// place is where a token was found: behind a key, or as an item of a list, or behind the first key of an item.
type place struct {
	indent string // what goes before the dash or the key
	key    string // the dash, the key and its colon, as far as they are there
}

// templates collects the inserts of one chart by their tokens.
type templates struct{ inserts []insert }

func (t *templates) token(i insert) string {
	t.inserts = append(t.inserts, i)
	return fmt.Sprintf("__chart_%d__", len(t.inserts)-1)
}

var tokenLine = regexp.MustCompile(`(?m)^( *)((?:- )?(?:[^\s:]+: )?)__chart_(\d+)__$`)

// text is an object as a template. Braces that helm would take for its own are escaped.
func (t *templates) text(o object) (string, error) {
	out, err := yaml.Marshal(o)
	if err != nil {
		return "", err
	}
	escaped := strings.ReplaceAll(string(out), "{{", `{{ "{{" }}`)
	var failed error
	done := tokenLine.ReplaceAllStringFunc(escaped, func(line string) string {
		match := tokenLine.FindStringSubmatch(line)
		var n int
		_, _ = fmt.Sscan(match[3], &n)
		at := place{indent: match[1], key: match[2]}
		text := t.inserts[n](at)
		if len(at.key) > len("- ") && strings.HasPrefix(at.key, "- ") && strings.Contains(text, "\n") {
			failed = fmt.Errorf("%s cannot come and go as the first key of an item of a list: adapt hack/chart/template.go", at.key)
		}
		return text
	})
	if failed == nil && strings.Contains(done, "__chart_") {
		failed = errors.New("a token is not alone on its line: adapt hack/chart/template.go")
	}
	return done, failed
}

// inline is an expression behind the key.
func inline(expression string) insert {
	return func(at place) string { return at.indent + at.key + "{{ " + expression + " }}" }
}

// scalar is a value behind its key; neither is there when the value is empty.
func scalar(value string) insert {
	return func(at place) string {
		return lines("{{- with .Values."+value+" }}", at.indent+at.key+"{{ . }}", "{{- end }}")
	}
}

// block is a map or a list below its key; neither is there when it is empty.
func block(value string) insert {
	return func(at place) string {
		return lines("{{- with .Values."+value+" }}", at.indent+strings.TrimSpace(at.key),
			fmt.Sprintf("%s  {{- toYaml . | nindent %d }}", at.indent, len(at.indent)+2), "{{- end }}")
	}
}

// flag is an item of a list of arguments, which is there when the condition, an expression, is not empty.
func flag(condition, flag, expression string) insert {
	return func(at place) string {
		return lines("{{- if "+condition+" }}", at.indent+at.key+"--"+flag+"={{ "+expression+" }}", "{{- end }}")
	}
}

// more are the items of a list that go on with the surrounding list.
func more(value string) insert {
	return func(at place) string {
		return lines("{{- with .Values."+value+" }}", fmt.Sprintf("%s{{- toYaml . | nindent %d }}", at.indent, len(at.indent)), "{{- end }}")
	}
}

// entries are the lines of a named template, which go on with the surrounding map. The key is a stand-in.
func entries(template string) insert {
	return func(at place) string {
		return fmt.Sprintf("%s{{- include %q . | nindent %d }}", at.indent, template, len(at.indent))
	}
}

// entry is one line of the surrounding map, which is there when the condition is not empty. The key is a stand-in.
func entry(condition, line string) insert {
	return func(at place) string { return lines("{{- if "+condition+" }}", at.indent+line, "{{- end }}") }
}

func lines(all ...string) string { return strings.Join(all, "\n") }
