// Package page writes those parts of documents that programs write.
package page

import (
	"fmt"
	"os"
	"strings"
)

// Write replaces what a document has below a marker, a line of its own. It is an error if the marker is not there.
func Write(path, marker, text string) error {
	now, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, _, found := strings.Cut(string(now), marker)
	if !found {
		return fmt.Errorf("%s has no line %s", path, marker)
	}
	return os.WriteFile(path, []byte(head+marker+"\n"+text), 0o644)
}
