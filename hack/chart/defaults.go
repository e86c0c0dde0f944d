package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"reflect"
	"strings"
	"text/template"

	"sigs.k8s.io/yaml"
)

// defaults are what config/ says, by the values that stand for it.
type defaults map[string]any

// set remembers the default of a value. One value can stand for several places, if config/ has the same at each.
func (d defaults) set(value string, now any) error {
	if before, ok := d[value]; ok && !reflect.DeepEqual(before, now) {
		return fmt.Errorf("the value %s stands for %v here and for %v elsewhere: make them equal in config/, or give each a value in hack/chart/knobs.go", value, now, before)
	}
	d[value] = now
	return nil
}

//go:embed values.yaml
var valuesTemplate string

// valuesFile is values.yaml with these defaults in it. Every one of them must have its place there.
func (d defaults) valuesFile() ([]byte, error) {
	used := map[string]bool{}
	functions := template.FuncMap{"value": func(value, otherwise string, indent int) (string, error) {
		used[value] = true
		now, ok := d[value]
		if !ok {
			return " " + otherwise, nil
		}
		return indented(now, indent)
	}}
	t, err := template.New("values.yaml").Delims("[[", "]]").Funcs(functions).Parse(valuesTemplate)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, nil); err != nil {
		return nil, err
	}
	for _, value := range d.known() {
		if !used[value] {
			return nil, fmt.Errorf("hack/chart/values.yaml has no place for %s", value)
		}
	}
	return out.Bytes(), nil
}

// indented is what comes after a key in YAML.
func indented(value any, indent int) (string, error) {
	out, err := yaml.Marshal(value)
	if err != nil {
		return "", err
	}
	written := strings.TrimRight(string(out), "\n")
	empty := written == "{}" || written == "[]"
	switch value.(type) {
	case map[string]any, []any:
		if !empty {
			margin := "\n" + strings.Repeat(" ", indent)
			return margin + strings.ReplaceAll(written, "\n", margin), nil
		}
	}
	return " " + written, nil
}
