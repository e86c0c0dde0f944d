package main

import (
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const code = `package x

import "time"

// first and last bound it.
const (
	first = time.Second
	last  = 10 * time.Second
)

const (
	// askAfter is when to ask.
	askAfter = 3 * time.Minute
)

var table = []row{
	{"/Get", 4 * time.Second}, // the server itself has 2 s
}

// f does it.
func f(n int) {
	wait(time.Duration(n) * time.Second) // a conversion is no wait
	now.Round(time.Second)
	// It is near.
	wait(5 * time.Second)
	wait(time.Hour)
}

func g() { wait(time.Nanosecond) }
`

func TestWaits(t *testing.T) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "a/x.go", code, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	got := (&reader{files: files, file: file, path: "a/x.go"}).waits()
	want := "| `a` | `first` | 1 s | first and last bound it. |\n" +
		"| `a` | `last` | 10 s | first and last bound it. |\n" +
		"| `a` | `askAfter` | 3 min | askAfter is when to ask. |\n" +
		"| `a` | `/Get` | 4 s | the server itself has 2 s |\n" +
		"| `a` | `f` | 5 s | It is near. |\n" +
		"| `a` | `f` | 1 h | f does it. |\n" +
		"| `a` | `g` | 1 ns |  |\n"
	_, lines, _ := strings.Cut(table(got), "---|\n")
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := unexplained(got); err == nil || !strings.Contains(err.Error(), "a/x.go:29: g (1 ns)") {
		t.Errorf("what nobody explains: %v", err)
	}
}
