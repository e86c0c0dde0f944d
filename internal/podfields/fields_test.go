package podfields

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// fieldsOf are the fields of a type of core/v1, by name, with those of embedded types; each with the type that is in it.
func fieldsOf(of reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for field := range of.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !field.Anonymous {
			out[name] = inside(field.Type)
			continue
		}
		maps.Copy(out, fieldsOf(field.Type))
	}
	return out
}

// inside is what a pointer, a list or a map is of.
func inside(of reflect.Type) reflect.Type {
	for slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Slice, reflect.Map}, of.Kind()) {
		of = of.Elem()
	}
	return of
}

func typeOf(of reflect.Type) *Type {
	all := All()
	if i := slices.IndexFunc(all, func(t Type) bool { return t.Type == of }); i >= 0 {
		return &all[i]
	}
	return nil
}

func (t *Type) field(name string) *Field {
	if i := slices.IndexFunc(t.Fields, func(f Field) bool { return f.Name == name }); i >= 0 {
		return &t.Fields[i]
	}
	return nil
}

// Every field of core/v1 has its line: those of the spec, and those of each type that is in a field which is not refused.
func TestNoFieldIsForgotten(t *testing.T) {
	reached := map[reflect.Type]bool{All()[0].Type: true}
	for _, of := range All() {
		if !reached[of.Type] {
			t.Errorf("%s is in no field of the types above it", of.Name())
		}
		native := fieldsOf(of.Type)
		for name, inner := range native {
			field := of.field(name)
			if field == nil {
				t.Errorf("%s of %s has no line: say whether it works, with which values, or why it is refused", name, of.Name())
				continue
			}
			if field.Verdict == Refused || inner.Kind() != reflect.Struct || inner.PkgPath() != of.PkgPath() {
				continue
			}
			reached[inner] = true
			if typeOf(inner) == nil {
				t.Errorf("%s, which %s of %s has, has no table", inner.Name(), name, of.Name())
			}
		}
		for i, field := range of.Fields {
			if _, known := native[field.Name]; known == (field.Verdict == Own) {
				t.Errorf("%s of %s is %s, and in core/v1: %v", field.Name, of.Name(), field.Verdict, known)
			}
			if of.field(field.Name) != &of.Fields[i] {
				t.Errorf("%s of %s has two lines", field.Name, of.Name())
			}
			if field.Verdict != Works && field.Why == "" {
				t.Errorf("%s of %s: nobody says why", field.Name, of.Name())
			}
		}
	}
}

// The schema of MiniPods has the fields that are said to work, in every place where a type is, and no others.
func TestSchemaHasWhatWorks(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "config", "crd", "bases", "miniplane.dev_minipods.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(data, &crd); err != nil {
		t.Fatal(err)
	}
	compare(t, "spec", All()[0].Type, crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"])
}

func compare(t *testing.T, path string, of reflect.Type, schema apiextensionsv1.JSONSchemaProps) {
	table := typeOf(of)
	if table == nil {
		return
	}
	native := fieldsOf(of)
	for _, field := range table.Fields {
		inner, has := schema.Properties[field.Name]
		if has == (field.Verdict == Refused) {
			t.Errorf("%s.%s is %s, and in the schema: %v", path, field.Name, field.Verdict, has)
		}
		if !has || field.Verdict == Own {
			continue
		}
		if inner.Items != nil {
			inner = *inner.Items.Schema
		}
		compare(t, path+"."+field.Name, native[field.Name], inner)
	}
	for name := range schema.Properties {
		if table.field(name) == nil {
			t.Errorf("%s.%s is in the schema and has no line", path, name)
		}
	}
}

// The policy about volumes refuses kinds that MiniPods do not have, and sources of projected volumes, in the words of the table.
func TestPolicySpeaksAsTheTable(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "config", "policy", "resources.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, volumes, _ := strings.Cut(string(data), "\n  name: volumes.miniplane.dev\n")
	var policy struct {
		Spec struct {
			Variables []struct{ Name, Expression string }
		}
	}
	document, _, _ := strings.Cut(volumes, "\n---\n")
	if err := yaml.Unmarshal([]byte(document), &policy); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	want["kinds"], want["because"] = expressions(volume)
	want["sources"], want["sourceBecause"] = expressions(volumeProjection)
	for _, variable := range policy.Spec.Variables {
		expression, held := want[variable.Name]
		if held && strings.Join(strings.Fields(variable.Expression), " ") != expression {
			t.Errorf("the variable %s has to be\n%s", variable.Name, expression)
		}
		delete(want, variable.Name)
	}
	for name := range want {
		t.Errorf("the policy has no variable %s", name)
	}
}

// expressions are what the policy has of a table: the fields that there can be, and those that there cannot be, by the reason.
func expressions(table []Field) (kinds, because string) {
	var known, reasons []string
	refused := map[string][]string{}
	for _, field := range table {
		if field.Verdict != Refused {
			known = append(known, "'"+field.Name+"'")
			continue
		}
		why := field.Why
		if field.Instead != "" {
			why += ": " + field.Instead
		}
		if refused[why] == nil {
			reasons = append(reasons, why)
		}
		refused[why] = append(refused[why], "'"+field.Name+"'")
	}
	for i, why := range reasons {
		reasons[i] = "'" + why + "': [" + strings.Join(refused[why], ", ") + "]"
	}
	return "[" + strings.Join(known, ", ") + "]", "{" + strings.Join(reasons, ", ") + "}"
}
