package main

// alone are kinds that no native kind is like.
var alone = map[string]bool{"MiniNode": true}

// openStatus lets a status have fields that the schema does not know, at any depth. A native object that comes out of a cluster has its status
// with it, with all that its API server's version knows, and a client that is strict would be refused for it, although nothing of
// what it sends is kept: a new object gets its status from miniplane alone.
func openStatus(crd map[string]any) {
	spec := crd["spec"].(map[string]any)
	if alone[spec["names"].(map[string]any)["kind"].(string)] {
		return
	}
	for _, version := range spec["versions"].([]any) {
		schema := version.(map[string]any)["schema"].(map[string]any)["openAPIV3Schema"].(map[string]any)
		openObjects(schema["properties"].(map[string]any)["status"])
	}
}

// openObjects opens every object in a schema that is not a map.
func openObjects(schema any) {
	node, ok := schema.(map[string]any)
	if !ok {
		return
	}
	openObjects(node["items"])
	openObjects(node["additionalProperties"])
	if node["type"] == "object" && node["additionalProperties"] == nil {
		node["x-kubernetes-preserve-unknown-fields"] = true
	}
	properties, _ := node["properties"].(map[string]any)
	for _, property := range properties {
		openObjects(property)
	}
}
