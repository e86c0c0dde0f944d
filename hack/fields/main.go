// Command fields writes what becomes of a native Pod's fields in a MiniPod into docs/minipod-fields.md, and where the two differ into docs/minipod.md.
package main

import (
	"fmt"
	"os"

	"miniplane.dev/miniplane/hack/page"
	"miniplane.dev/miniplane/internal/podfields"
	"miniplane.dev/miniplane/test/twin"
)

func main() {
	for document, text := range map[string][2]string{
		"docs/minipod-fields.md": {"<!-- fields: written by hack/fields -->", podfields.Page()},
		"docs/minipod.md":        {"<!-- twin: written by hack/fields -->", twin.Page()},
	} {
		if err := page.Write(document, text[0], "\n"+text[1]); err != nil {
			fmt.Fprintln(os.Stderr, "fields:", err)
			os.Exit(1)
		}
	}
}
