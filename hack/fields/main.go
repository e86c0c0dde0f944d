// Command fields writes the table of a native Pod's fields, and what becomes of them in a MiniPod, into docs/minipod-fields.md.
package main

import (
	"fmt"
	"os"

	"miniplane.dev/miniplane/hack/page"
	"miniplane.dev/miniplane/internal/podfields"
)

const (
	document = "docs/minipod-fields.md"
	marker   = "<!-- fields: written by hack/fields -->"
)

func main() {
	if err := page.Write(document, marker, "\n"+podfields.Page()); err != nil {
		fmt.Fprintln(os.Stderr, "fields:", err)
		os.Exit(1)
	}
}
