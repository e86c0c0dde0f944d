//go:build !linux

package main

import (
	"fmt"
	"os"
	"runtime"
)

func main() {
	fmt.Fprintf(os.Stderr, "cluster: a local cluster needs Linux: it is made of network namespaces, cgroups and iptables. "+
		"This is %s; use a Linux machine or virtual machine, or kind.\n", runtime.GOOS)
	os.Exit(1)
}
