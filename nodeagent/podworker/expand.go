package podworker

import (
	"fmt"
	"strings"
)

// The most that a program can be given: in one argument or variable, which is Linux's own limit (MAX_ARG_STRLEN, with the zero byte that ends it), and in all of its
// arguments, or of its variables, together, which is what is kept of a container. A few references, each to twice the one before, become as long as one likes; so they are
// cut there.
const (
	mostString  = 128<<10 - 1
	mostStrings = 1 << 20
)

// fits says of an argument or variable, and of all so far, that they are longer than a program can be given.
func fits(size, all int) error {
	switch {
	case size > mostString:
		return fmt.Errorf("it has more than %d bytes, and Linux gives no program an argument or a variable of that length", mostString)
	case all > mostStrings:
		return fmt.Errorf("with those before it, it has more than %d bytes, which is more than a container is given", mostStrings)
	}
	return nil
}

// expandAll replaces references in each of the strings.
func expandAll(in []string, values map[string]string) ([]string, error) {
	if len(in) == 0 {
		return nil, nil
	}
	out, size := make([]string, len(in)), 0
	for i, s := range in {
		out[i] = expand(s, values)
		size += len(out[i])
		if err := fits(len(out[i]), size); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// expand replaces $(NAME) by the variable's value, by Kubernetes' rules: what names no known variable stays as it is, and
// $$ is a plain $, so that $$(NAME) is never replaced. What becomes too long for a program is cut where it is.
func expand(s string, values map[string]string) string {
	return expandWith(s, func(name string) (string, bool) { value, known := values[name]; return value, known })
}

// expandWith asks for the values of variables.
func expandWith(s string, valueOf func(name string) (string, bool)) string {
	if !strings.Contains(s, "$") {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			out.WriteByte(s[i])
			continue
		}
		text, length := readReference(s[i+1:], valueOf)
		out.WriteString(text[:min(len(text), mostString)])
		i += length
		if out.Len() > mostString {
			break
		}
	}
	return out.String()
}

// readReference reads what follows a $: what it becomes, and how many bytes it takes.
func readReference(rest string, valueOf func(string) (string, bool)) (text string, length int) {
	switch rest[0] {
	case '$':
		return "$", 1
	case '(':
		end := strings.IndexByte(rest, ')')
		if end < 0 {
			return "$(", 1
		}
		if value, known := valueOf(rest[1:end]); known {
			return value, end + 1
		}
		return "$" + rest[:end+1], end + 1
	}
	return "$" + rest[:1], 1
}
