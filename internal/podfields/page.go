package podfields

import (
	"fmt"
	"strings"
)

// Page has a table for each type, in Markdown.
func Page() string {
	var out strings.Builder
	for i, t := range All() {
		if i > 0 {
			out.WriteString("\n")
		}
		fmt.Fprintf(&out, "## %s\n\n| field | |\n|---|---|\n", t.Name())
		for _, f := range t.Fields {
			fmt.Fprintf(&out, "| `%s` | %s |\n", f.Name, f.words())
		}
	}
	return out.String()
}

// words are what there is to say of a field.
func (f *Field) words() string {
	switch f.Verdict {
	case Works:
		return strings.TrimSuffix(string(Works)+"; "+f.Why, "; ")
	case Only:
		return fmt.Sprintf("works with `%s` only: %s", strings.Join(f.Takes, "`, `"), f.Why)
	}
	if f.Instead != "" {
		return fmt.Sprintf("%s: %s; %s", f.Verdict, f.Why, f.Instead)
	}
	return fmt.Sprintf("%s: %s", f.Verdict, f.Why)
}
