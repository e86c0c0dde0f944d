//go:build !linux || !cgo

package guard

// Without a C compiler there is no guard, and libcontainer sets filters as it always does.
const supported = false

// Watch does nothing.
func Watch() {}
