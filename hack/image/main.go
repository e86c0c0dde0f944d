// Command image builds miniplane's image and the test images as OCI archives, without a registry or Docker.
//
//	go run ./hack/image -o .local/images miniplane echo busybox
//	go run ./hack/image -unpack -o /image miniplane
//
// A Go program becomes an image of one layer with one static file; busybox is the Debian package's static binary and a
// link for each of its commands; apps are the applications that the samples run, of Debian's packages. Archives are the same bytes for the same content. The second form writes the files of one
// image into a directory, as they are; that is how the Dockerfile comes to the same contents.
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
	"apps":      appImages,
	"echo":      echoImages,
	"busybox":   busyboxImages,
	"miniplane": productImages,
	"sandbox":   sandboxImages,
}

// version is what miniplane's programs call themselves; empty for what their source says.
var version = flag.String("version", "", "version that miniplane's programs tell, instead of their source's")

func main() {
	out := flag.String("o", ".local/images", "directory for the archives")
	files := flag.Bool("unpack", false, "write the files of the image into the directory instead of an archive")
	flag.Usage = func() {
		fmt.Fprintf(os.Stderr, "usage: image [-version VERSION] [-unpack] [-o DIR] NAME...   (names: %s)\n", strings.Join(names(), ", "))
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	for _, name := range flag.Args() {
		if err := build(name, *out, *files); err != nil {
			fmt.Fprintf(os.Stderr, "image %s: %v\n", name, err)
			os.Exit(1)
		}
	}
}

func build(name, dir string, files bool) error {
	builder, ok := builders[name]
	if !ok {
		return fmt.Errorf("no such image; there are %s", strings.Join(names(), ", "))
	}
	images, err := builder()
	if err != nil {
		return err
	}
	if files {
		if len(images) != 1 {
			return fmt.Errorf("these are %d images, and only the files of one can be unpacked", len(images))
		}
		return unpack(images[0].Image, dir)
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
