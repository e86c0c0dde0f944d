//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// outside are the programs that hack/assets.sh finds or builds.
var outside = []string{
	"etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "containerd", "containerd-shim-runc-v2", "ctr", "runc",
}

func (c *Cluster) asset(name string) string  { return filepath.Join(c.assets, name) }
func (c *Cluster) binary(name string) string { return filepath.Join(c.BinDir(), name) }
func (c *Cluster) image(name string) string  { return filepath.Join(c.ImageDir(), name+".tar") }

// script runs a shell script of the clone and returns what it prints; its complaints go to the user.
func (c *Cluster) script(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.Root, "hack", name), args...)
	cmd.Dir, cmd.Stderr = c.Root, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("hack/%s failed: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// findAssets makes sure that the outside programs are there.
func (c *Cluster) findAssets(ctx context.Context) (err error) {
	names := outside
	if c.full {
		names = append(slices.Clone(outside), outsideFull...)
	}
	c.assets, err = c.script(ctx, "assets.sh", names...)
	return err
}

// build makes our own programs and the test images. It builds with the flags that tests are built with, so that a
// machine compiles every package once.
func (c *Cluster) build(ctx context.Context) error {
	if err := os.MkdirAll(c.BinDir(), 0o755); err != nil {
		return err
	}
	if os.Getenv("MINIPLANE_PREBUILT") != "" { // on a machine without Go; hack/vm brought programs and images
		return c.linkPrograms(ctx)
	}
	packages := []string{"./hack/registry", "./test/images/echo"}
	if !c.without["manager"] && !c.full {
		packages = append(packages, "./cmd/manager")
	}
	if !c.without["agent"] && !c.full {
		packages = append(packages, "./cmd/nodeagent")
	}
	if err := c.goCommand(ctx, append([]string{"build", "-o", c.BinDir() + "/"}, packages...)...); err != nil {
		return err
	}
	if err := c.linkPrograms(ctx); err != nil {
		return err
	}
	return c.goCommand(ctx, append([]string{"run", "./hack/image", "-o", c.ImageDir(), "echo", "busybox"}, c.fullImages()...)...)
}

// linkPrograms puts those that are kept in the user's cache beside the others.
func (c *Cluster) linkPrograms(ctx context.Context) error {
	for _, program := range []string{"pause", "shim"} {
		dir, err := c.script(ctx, program+".sh")
		if err != nil {
			return err
		}
		if err := link(filepath.Join(dir, program), c.binary(program)); err != nil {
			return err
		}
	}
	return link(c.asset("kubectl"), c.binary("kubectl"))
}

func (c *Cluster) goCommand(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = c.Root
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// link makes name a symbolic link to target.
func link(target, name string) error {
	if now, err := os.Readlink(name); err == nil && now == target {
		return nil
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Symlink(target, name)
}

// stamp is a checksum of one of our programs, by which a process of an older build is told. Empty if it is not built.
func (c *Cluster) stamp(name string) string {
	file, err := os.Open(c.binary(name))
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return ""
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:8])
}
