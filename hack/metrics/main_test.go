package main

import (
	"regexp"
	"strings"
	"testing"
)

// conventional is a name as Prometheus wants it: units at the end, and _total for what only grows.
var conventional = regexp.MustCompile(`^miniplane_[a-z]+(_[a-z]+)+$`)

// What is registered can be read, says what it is, and is named by the conventions.
func TestRegistered(t *testing.T) {
	all, err := registered()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 15 {
		t.Errorf("only %d metrics: %v", len(all), all)
	}
	for _, m := range all {
		if !conventional.MatchString(m.name) || strings.HasSuffix(m.name, "_ms") || strings.HasSuffix(m.name, "_count") {
			t.Errorf("%s is not named by the conventions", m.name)
		}
		if !strings.HasSuffix(m.help, ".") {
			t.Errorf("%s: the help is no sentence: %q", m.name, m.help)
		}
	}
	if lines := strings.Count(table(all), "\n"); lines != len(all)+2 {
		t.Errorf("%d lines for %d metrics", lines, len(all))
	}
}

func TestParse(t *testing.T) {
	m, err := parse(`Desc{fqName: "miniplane_x_total", help: "Says \"x\".", unit: "", constLabels: {}, variableLabels: {a,b}}`)
	if err != nil || m.name != "miniplane_x_total" || m.help != `Says "x".` || len(m.labels) != 2 {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := parse("something else"); err == nil {
		t.Error("what cannot be read is no error")
	}
}
