// Command image builds the test images as OCI archives, without a registry or Docker.
//
//	go run ./hack/image -o .local/images echo busybox
//
// A Go program becomes an image of one layer with one static file; busybox is the Debian package's static binary and a
// link for each of its commands. Archives are the same bytes for the same content.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"miniplane.dev/miniplane/hack/ociarchive"
)

// builders of the archives by name.
var builders = map[string]func() ([]ociarchive.Named, error){
	"echo":      echoImages,
	"busybox":   busyboxImages,
	"miniplane": productImages,
	"sandbox":   sandboxImages,
}

func main() {
	out := flag.String("o", ".local/images", "directory for the archives")
	flag.Usage = func() {
		fmt.Fprintf(os.Stderr, "usage: image [-o DIR] NAME...   (names: %s)\n", strings.Join(names(), ", "))
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	for _, name := range flag.Args() {
		if err := build(name, *out); err != nil {
			fmt.Fprintf(os.Stderr, "image %s: %v\n", name, err)
			os.Exit(1)
		}
	}
}

func build(name, dir string) error {
	builder, ok := builders[name]
	if !ok {
		return fmt.Errorf("no such image; there are %s", strings.Join(names(), ", "))
	}
	images, err := builder()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, name+".tar")
	if err := ociarchive.Write(path, images); err != nil {
		return err
	}
	for _, image := range images {
		fmt.Printf("%s: %s\n", path, image.Ref)
	}
	return nil
}

func names() []string {
	var all []string
	for name := range builders {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
