// Package claim decides which objects belong to a controller.
//
// An object belongs to whoever its controlling owner reference names. An owner adopts matching objects that belong to
// nobody, and releases those of its own whose labels no longer match. What makes it hard: an owner that is being deleted
// with its dependents orphaned must not catch them again. Package adopt writes what is decided here.
package claim

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Claims are the objects that concern an owner.
type Claims[T metav1.Object] struct {
	// Mine belong to the owner, and stay.
	Mine []T
	// Adopt belong to nobody and match: the owner should take them.
	Adopt []T
	// Release belong to the owner but no longer match: it should give them up.
	Release []T
}

// Sort tells which of the objects belong, should belong, or should no longer belong to the owner. Objects of other owners
// are left out. An owner that is being deleted, and objects that are, change nothing any more.
func Sort[T metav1.Object](owner metav1.Object, selector labels.Selector, objects []T) Claims[T] {
	var out Claims[T]
	for _, o := range objects {
		ref := metav1.GetControllerOfNoCopy(o)
		matches := selector.Matches(labels.Set(o.GetLabels()))
		settled := owner.GetDeletionTimestamp() != nil || o.GetDeletionTimestamp() != nil
		switch {
		case ref != nil && ref.UID != owner.GetUID():
		case ref != nil && (matches || settled):
			out.Mine = append(out.Mine, o)
		case ref != nil:
			out.Release = append(out.Release, o)
		case matches && !settled:
			out.Adopt = append(out.Adopt, o)
		}
	}
	return out
}
