package twin

import (
	"fmt"
	"strings"
)

// Difference is one between a Pod and a MiniPod that is meant.
type Difference struct {
	// Key is a regular expression of what is compared, as view_test.go names it; Pod and MiniPod are of what the two say there.
	Key, Pod, MiniPod string
	// What and Why are for people.
	What, Why string
}

// Differences are all that are meant.
var Differences = []Difference{}

// Page has them in Markdown.
func Page() string {
	var out strings.Builder
	out.WriteString("| what | why |\n|---|---|\n")
	for _, d := range Differences {
		fmt.Fprintf(&out, "| %s | %s |\n", d.What, d.Why)
	}
	return out.String()
}
