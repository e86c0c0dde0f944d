package main

import (
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// object is a Kubernetes object, or a part of one, as YAML has it.
type object = map[string]any

// parse splits a stream of YAML documents.
func parse(stream []byte) ([]object, error) {
	var objects []object
	for document := range strings.SplitSeq("\n"+string(stream), "\n---\n") {
		var o object
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			return nil, err
		}
		if len(o) > 0 {
			objects = append(objects, o)
		}
	}
	return objects, nil
}

func kind(o object) string { return text(o["kind"]) }
func name(o object) string { return text(child(o, "metadata")["name"]) }

// describe names an object in errors.
func describe(o object) string { return kind(o) + " " + name(o) }

func text(value any) string {
	s, _ := value.(string)
	return s
}

// child is a part of an object by its path; nil if it is missing.
func child(o object, path ...string) object {
	for _, key := range path {
		o, _ = o[key].(object)
	}
	return o
}

// ensure is a child that is made if it is missing.
func ensure(o object, key string) object {
	if _, ok := o[key].(object); !ok {
		o[key] = object{}
	}
	return o[key].(object)
}

// items are the objects of a list.
func items(o object, key string) []object {
	list, _ := o[key].([]any)
	var out []object
	for _, item := range list {
		if entry, ok := item.(object); ok {
			out = append(out, entry)
		}
	}
	return out
}

// named is the object of a list that has this name.
func named(o object, key, name string) (object, error) {
	for _, item := range items(o, key) {
		if text(item["name"]) == name {
			return item, nil
		}
	}
	return nil, fmt.Errorf("%s has nothing with the name %q", key, name)
}

// runsContainers reports whether there is a list of containers anywhere in an object.
func runsContainers(value any) bool {
	switch value := value.(type) {
	case object:
		for key, part := range value {
			if list, ok := part.([]any); ok && key == "containers" && len(list) > 0 {
				return true
			}
			if runsContainers(part) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(value, runsContainers)
	}
	return false
}
