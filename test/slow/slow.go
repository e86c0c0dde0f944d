// Package slow makes tests wait longer on machines that are many times slower than others.
//
// MINIPLANE_SLOW says by what factor. Emulated machines have it (hack/vm/guest/run.sh), and no other: a test that needs more time on
// a usual machine has found something. Only the patience of tests grows; the times that a product promises are never multiplied.
package slow

import (
	"cmp"
	"os"
	"strconv"
	"time"
)

// Machine is the variable with the factor, a whole number from 1.
const Machine = "MINIPLANE_SLOW"

// By makes a time longer by the machine's factor. It panics when the variable holds no factor, for a test must not run then.
func By(d time.Duration) time.Duration {
	factor, err := strconv.Atoi(cmp.Or(os.Getenv(Machine), "1"))
	if err != nil || factor < 1 {
		panic(Machine + " is no factor, such as 4: " + os.Getenv(Machine))
	}
	return d * time.Duration(factor)
}
