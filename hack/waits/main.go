// Command waits writes the table of all waits and deadlines of miniplane's programs into docs/waits.md, from the code itself.
//
// The idea: a length of time in the code is a number times a unit of package time. The program finds each of them, with the name
// that it has there (of a constant, a field, a flag, else the function it is in) and what the comment at it says; one that nobody
// explains is an error. So the page can forget none, and none is without a reason.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"miniplane.dev/miniplane/hack/page"
)

const (
	document = "docs/waits.md"
	marker   = "<!-- waits: written by hack/waits -->"
)

// roots are where the programs' code is; skipped is what there only tests use.
var (
	roots   = []string{"api", "cmd", "controllers", "internal", "nodeagent"}
	skipped = []string{"nodeagent/nettest", "nodeagent/runtime/conformance", "nodeagent/runtime/fake", "nodeagent/iptables/fake"}
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "waits:", err)
		os.Exit(1)
	}
}

func run() error {
	var all []wait
	for _, root := range roots {
		some, err := below(root)
		if err != nil {
			return err
		}
		all = append(all, some...)
	}
	if err := unexplained(all); err != nil {
		return err
	}
	return page.Write(document, marker, table(all))
}

// below finds the waits of all packages below a directory.
func below(root string) (out []wait, err error) {
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if slices.Contains(skipped, path) {
			return fs.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		out = append(out, (&reader{files: files, file: file, path: path}).waits()...)
		return nil
	})
	return out, err
}

func unexplained(all []wait) error {
	var places []string
	for _, w := range all {
		if w.why == "" {
			places = append(places, w.at)
		}
	}
	if len(places) == 0 {
		return nil
	}
	return fmt.Errorf("say in a comment at each why it is that long:\n%s", strings.Join(places, "\n"))
}

// table has one line for each wait, in the order of the code.
func table(all []wait) string {
	var out strings.Builder
	out.WriteString("| package | name | how long | why |\n|---|---|---|---|\n")
	for _, w := range all {
		fmt.Fprintf(&out, "| `%s` | `%s` | %s | %s |\n", w.dir, w.name, w.value, strings.ReplaceAll(w.why, "|", `\|`))
	}
	return out.String()
}

// children walks a tree with the way to each node; the last of the way is the node.
func children(root ast.Node, visit func(way []ast.Node)) {
	var way []ast.Node
	ast.Inspect(root, func(n ast.Node) bool {
		if n == nil {
			way = way[:len(way)-1]
			return true
		}
		way = append(way, n)
		visit(way)
		return true
	})
}
