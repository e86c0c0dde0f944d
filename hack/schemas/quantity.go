package main

import "strings"

// pattern is the part of resource.ParseQuantity's grammar that makes sense for an amount: not negative, and with an
// exponent that fits.
const pattern = `^(([0-9]{1,18}(\.[0-9]{0,18})?)|(\.[0-9]{1,18}))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?[0-9]{1,2}))?$`

// openQuantities makes the schema of resource quantities accept what native kinds accept: strings such as "500m", integers, and
// fractions such as 0.05.
//
// controller-gen writes quantities as int-or-string, which refuses a bare 0.05, and a structural schema cannot say
// "integer, number or string". It can leave the type open and rule out the rest by value: objects and arrays are at most
// empty, and the empty ones and booleans are forbidden. What passes always decodes as a resource.Quantity, so that no
// stored object can stop an informer.
func openQuantities(node any) {
	switch n := node.(type) {
	case map[string]any:
		if isQuantity(n) {
			open(n)
			return
		}
		for _, child := range n {
			openQuantities(child)
		}
	case []any:
		for _, child := range n {
			openQuantities(child)
		}
	}
}

// isQuantity tells controller-gen's quantities from other int-or-strings, by the suffixes in their pattern.
func isQuantity(schema map[string]any) bool {
	pattern, _ := schema["pattern"].(string)
	return strings.Contains(pattern, "[KMGTPE]i") && schema["x-kubernetes-int-or-string"] == true
}

func open(schema map[string]any) {
	clear(schema)
	schema["x-kubernetes-preserve-unknown-fields"] = true
	schema["pattern"] = pattern
	schema["minimum"] = 0
	schema["maxItems"] = 0
	schema["maxProperties"] = 0
	schema["not"] = map[string]any{"enum": []any{true, false, map[string]any{}, []any{}}}
}
