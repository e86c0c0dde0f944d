package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// wait is one line of the table.
type wait struct {
	dir, name, value, why string
	at                    string // file:line
}

// reader reads one file.
type reader struct {
	files *token.FileSet
	file  *ast.File
	path  string
}

// units are those of package time.
var units = map[string]string{"Nanosecond": "ns", "Microsecond": "µs", "Millisecond": "ms", "Second": "s", "Minute": "min", "Hour": "h"}

func (r *reader) waits() (out []wait) {
	children(r.file, func(way []ast.Node) {
		value, ok := length(way)
		if !ok {
			return
		}
		at := r.files.Position(way[len(way)-1].Pos())
		name, why := r.explain(way, at.Line)
		out = append(out, wait{filepath.Dir(r.path), name, value, why, fmt.Sprintf("%s:%d: %s (%s)", r.path, at.Line, name, value)})
	})
	return out
}

// length tells whether the node at the end of the way is a length of time, and which: a number times a unit, or a unit alone that
// is not there to convert another number.
func length(way []ast.Node) (string, bool) {
	node := way[len(way)-1]
	if product, ok := node.(*ast.BinaryExpr); ok && product.Op == token.MUL {
		number, isNumber := product.X.(*ast.BasicLit)
		if u, isUnit := unit(product.Y); isNumber && isUnit {
			return number.Value + " " + u, true
		}
		return "", false
	}
	u, ok := unit(node)
	if !ok {
		return "", false
	}
	switch above := way[len(way)-2].(type) {
	case *ast.BinaryExpr:
		return "", false
	case *ast.CallExpr:
		called, _ := above.Fun.(*ast.SelectorExpr)
		if called == nil {
			return "1 " + u, node != above.Fun && !isConversion(above.Fun)
		}
		return "1 " + u, !slices.Contains([]string{"Round", "Truncate"}, called.Sel.Name)
	}
	return "1 " + u, true
}

func isConversion(fun ast.Expr) bool {
	id, ok := fun.(*ast.Ident)
	return ok && types.Universe.Lookup(id.Name) != nil && id.Name != "min" && id.Name != "max"
}

func unit(n ast.Node) (string, bool) {
	selector, ok := n.(*ast.SelectorExpr)
	if !ok {
		return "", false
	}
	pkg, ok := selector.X.(*ast.Ident)
	if !ok || pkg.Name != "time" {
		return "", false
	}
	u, ok := units[selector.Sel.Name]
	return u, ok
}

// explain finds the name of what has the length, and the comment that explains it: the nearest of those on its line, above it, and
// above what it is part of; else the first that mentions the name.
func (r *reader) explain(way []ast.Node, line int) (name, why string) {
	why = r.comment(func(first, _ int) bool { return first == line })
	for _, part := range slices.Backward(way) {
		here, docs := says(part, way[len(way)-1])
		if statement, ok := part.(ast.Stmt); ok && why == "" {
			start := r.files.Position(statement.Pos()).Line
			why = r.comment(func(_, last int) bool { return last == start-1 })
		}
		name = cmp.Or(name, here)
		for _, doc := range docs {
			why = cmp.Or(why, oneLine(doc.Text()))
		}
	}
	if why != "" {
		return name, why
	}
	mentions := regexp.MustCompile(`\b` + regexp.QuoteMeta(name) + `\b`)
	for _, group := range r.file.Comments {
		if text := oneLine(group.Text()); mentions.MatchString(text) {
			return name, text
		}
	}
	return name, ""
}

// says is what a part of the code that has the value within it says of it: its name, and comments, the nearest first.
func says(part, value ast.Node) (name string, docs []*ast.CommentGroup) {
	switch n := part.(type) {
	case *ast.ValueSpec:
		return named(n, value), []*ast.CommentGroup{n.Doc, n.Comment}
	case *ast.GenDecl:
		return "", append(before(n, value), n.Doc)
	case *ast.KeyValueExpr:
		if id, ok := n.Key.(*ast.Ident); ok {
			return id.Name, nil
		}
	case *ast.CompositeLit:
		if len(n.Elts) > 1 {
			return key(n.Elts[0]), nil
		}
	case *ast.FuncDecl:
		return n.Name.Name, []*ast.CommentGroup{n.Doc}
	}
	return "", nil
}

// named is the name in a declaration that a value in it is for.
func named(spec *ast.ValueSpec, value ast.Node) string {
	for i, v := range spec.Values {
		if len(spec.Values) == len(spec.Names) && v.Pos() <= value.Pos() && value.End() <= v.End() {
			return spec.Names[i].Name
		}
	}
	return spec.Names[0].Name
}

// key is the text that a line of a table begins with, if it is one.
func key(e ast.Expr) string {
	if text, ok := e.(*ast.BasicLit); ok && text.Kind == token.STRING {
		return strings.Trim(text.Value, "\"`")
	}
	return ""
}

// before are the comments of the declarations of a group before the one that has the value, the nearest first: one speaks for those
// that follow it.
func before(group *ast.GenDecl, value ast.Node) (out []*ast.CommentGroup) {
	for _, s := range slices.Backward(group.Specs) {
		if spec, ok := s.(*ast.ValueSpec); ok && spec.Pos() <= value.Pos() {
			out = append(out, spec.Doc)
		}
	}
	return out
}

// comment is the text of the first comment whose first and last line are as wanted.
func (r *reader) comment(wanted func(first, last int) bool) string {
	for _, group := range r.file.Comments {
		if wanted(r.files.Position(group.Pos()).Line, r.files.Position(group.End()).Line) {
			return oneLine(group.Text())
		}
	}
	return ""
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
