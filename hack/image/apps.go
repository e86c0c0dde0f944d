package main

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"miniplane.dev/miniplane/hack/ociarchive"
)

// helloPage is what the web application of the samples answers: a page that the servlet container compiles.
const helloPage = `<%@ page contentType="text/plain" %>hello from <%= application.getServerInfo() %>: <%= 6 * 7 %>
`

// appImages are real applications, of Debian's packages: a web server, two databases and a servlet container, which share one layer, and a web
// application for the last.
func appImages() ([]ociarchive.Named, error) {
	cmd := exec.Command("hack/apps/rootfs.sh")
	cmd.Stderr = os.Stderr
	path, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("hack/apps/rootfs.sh: %w", err)
	}
	layer, err := tarball.LayerFromFile(strings.TrimSpace(string(path)), tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}
	const sbin = "PATH=/usr/local/bin:/usr/lib/postgresql/15/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	var images []ociarchive.Named
	var errs []error
	for ref, config := range map[string]v1.Config{
		"nginx": {Entrypoint: []string{"nginx", "-g", "daemon off; error_log stderr;"}, StopSignal: "SIGQUIT", Env: []string{sbin},
			ExposedPorts: map[string]struct{}{"80/tcp": {}}},
		"redis": {Entrypoint: []string{"redis-server"}, User: "redis", WorkingDir: "/tmp", Env: []string{sbin}, ExposedPorts: map[string]struct{}{"6379/tcp": {}}},
		"postgres": {Entrypoint: []string{"postgres-first"}, User: "postgres", StopSignal: "SIGINT", WorkingDir: "/tmp",
			Env: []string{sbin, "PGDATA=/var/lib/postgresql/data"}, ExposedPorts: map[string]struct{}{"5432/tcp": {}}, Volumes: map[string]struct{}{"/var/lib/postgresql/data": {}}},
		"tomcat": {Entrypoint: []string{"/usr/share/tomcat10/bin/catalina.sh", "run"}, User: "tomcat", WorkingDir: "/tmp",
			Env: []string{sbin, "CATALINA_HOME=/usr/share/tomcat10", "CATALINA_BASE=/var/lib/tomcat10", "CATALINA_TMPDIR=/tmp"}, ExposedPorts: map[string]struct{}{"8080/tcp": {}}},
	} {
		image, err := newImage(layer, config)
		images, errs = append(images, ociarchive.Named{Ref: "miniplane.dev/" + ref + ":v1", Image: image}), append(errs, err)
	}
	war, err := warImage()
	return append(images, war), errors.Join(append(errs, err)...)
}

// warImage is busybox with a web application in a file.
func warImage() (ociarchive.Named, error) {
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	page, err := w.Create("index.jsp")
	if err != nil {
		return ociarchive.Named{}, err
	}
	if _, err := page.Write([]byte(helloPage)); err != nil {
		return ociarchive.Named{}, err
	}
	if err := w.Close(); err != nil {
		return ociarchive.Named{}, err
	}
	files, err := busyboxFiles()
	if err != nil {
		return ociarchive.Named{}, err
	}
	layer, err := newLayer(append(files, file{name: "hello.war", mode: 0o644, content: archive.Bytes()}))
	if err != nil {
		return ociarchive.Named{}, err
	}
	image, err := newImage(layer, v1.Config{Cmd: []string{"/bin/sh"}, Env: []string{"PATH=/bin"}})
	return ociarchive.Named{Ref: "miniplane.dev/war:v1", Image: image}, err
}
