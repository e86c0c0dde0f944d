package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	continuity "github.com/containerd/continuity/fs"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/foreign"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

// maxVolumes is how many directories an image can call volumes: each is a mount of every container of it. maxVolumePath is how long their paths can be.
const maxVolumes, maxVolumePath = 128, 4096

// imageVolume is a directory that an image calls a volume (VOLUME, in the file that it was built from): each container has one of its own there,
// which begins as what the image has, and goes with the container.
type imageVolume struct {
	// name of its directory among those of the image.
	name string
	// path in the image, absolute and clean.
	path string
	// full says that the image has something there. Otherwise the owner and the mode are all that there is to copy.
	full     bool
	uid, gid uint32
	mode     uint32
	// wrong is why it cannot be had; nil if it can.
	wrong error
}

// volumesOf are the paths that an image's configuration calls volumes. The root of the file system cannot be one.
func volumesOf(configured map[string]struct{}) ([]imageVolume, error) {
	if len(configured) > maxVolumes {
		return nil, fmt.Errorf("the image has %d volumes, and %d are possible: %w", len(configured), maxVolumes, errdefs.ErrInvalidArgument)
	}
	var out []imageVolume
	for _, name := range slices.Sorted(maps.Keys(configured)) {
		volume := imageVolume{name: strconv.Itoa(len(out)), path: path.Join("/", name), mode: 0o755}
		if len(name) > maxVolumePath {
			return nil, fmt.Errorf("the path of a volume of the image has %d bytes, and %d are possible: %w", len(name), maxVolumePath, errdefs.ErrInvalidArgument)
		}
		if volume.path != "/" && !slices.ContainsFunc(out, func(v imageVolume) bool { return v.path == volume.path }) {
			out = append(out, volume)
		}
	}
	return out, nil
}

// lookInto finds out what an image, whose root is this directory, has where it calls for a volume.
func (v *imageVolume) lookInto(root string) {
	top, err := foreign.OpenAt(unix.AT_FDCWD, root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		v.wrong = err
		return
	}
	defer func() { _ = top.Close() }()
	dir, err := foreign.OpenAt(int(top.Fd()), v.path, unix.O_RDONLY|unix.O_DIRECTORY, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		v.wrong = err
		return
	}
	defer func() { _ = dir.Close() }()
	var stat unix.Stat_t
	if v.wrong = unix.Fstat(int(dir.Fd()), &stat); v.wrong != nil {
		return
	}
	v.uid, v.gid, v.mode = stat.Uid, stat.Gid, stat.Mode&0o7777
	names, err := dir.Readdirnames(1)
	v.full = len(names) > 0
	if err != nil && !errors.Is(err, io.EOF) {
		v.wrong = err
	}
}

// withVolumes adds the mounts of the image's volumes, which it makes where the spec says; but for those at whose places the container has
// something else. An earlier try that was cut short may have made them all: nobody has used them since.
func (r *Runtime) withVolumes(ctx context.Context, spec *runtime.ContainerSpec, facts *imageFacts) error {
	if len(facts.volumes) == 0 || spec.VolumesDir == "" {
		return nil
	}
	dir := filepath.Join(spec.VolumesDir, path.Base(strings.TrimPrefix(facts.chainID, "sha256:")))
	var wanted []imageVolume
	var mounts []runtime.Mount
	for _, volume := range facts.volumes {
		if slices.ContainsFunc(spec.Mounts, func(m runtime.Mount) bool { return path.Join("/", m.ContainerPath) == volume.path }) {
			continue
		}
		if volume.wrong != nil {
			return fmt.Errorf("volume %s of the image: %w: %w", volume.path, volume.wrong, errdefs.ErrInvalidArgument)
		}
		wanted = append(wanted, volume)
		mounts = append(mounts, runtime.Mount{HostPath: filepath.Join(dir, volume.name), ContainerPath: volume.path})
	}
	spec.Mounts = slices.Concat(spec.Mounts, mounts)
	if _, err := os.Lstat(dir); err == nil || len(wanted) == 0 {
		return nil
	}
	err := r.makeVolumes(ctx, dir, wanted, facts, spec)
	if errdefs.IsNotFound(err) { // its layers were collected
		r.images.forget(facts)
	}
	return err
}

// makeVolumes makes directories for volumes of an image, all at once: they have their place when all are there.
func (r *Runtime) makeVolumes(ctx context.Context, dir string, wanted []imageVolume, facts *imageFacts, spec *runtime.ContainerSpec) (err error) {
	fresh := dir + ".new"
	if err := errors.Join(os.RemoveAll(fresh), os.MkdirAll(fresh, 0o700)); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("volumes of the image: %w", err), os.RemoveAll(filepath.Dir(dir)))
		}
	}()
	var full []imageVolume
	for _, volume := range wanted {
		if volume.full {
			full = append(full, volume)
			continue
		}
		if err := volume.make(filepath.Join(fresh, volume.name)); err != nil {
			return err
		}
	}
	if len(full) > 0 {
		if err := spec.Copy(ctx, func() error { return r.copyVolumes(ctx, fresh, full, facts) }); err != nil {
			return err
		}
	}
	return os.Rename(fresh, dir)
}

func (v *imageVolume) make(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := os.Chown(dir, int(v.uid), int(v.gid)); err != nil {
		return err
	}
	return unix.Chmod(dir, v.mode)
}

// copyVolumes copies what an image has in volumes, with owners, modes, times and attributes.
func (r *Runtime) copyVolumes(ctx context.Context, to string, full []imageVolume, facts *imageFacts) error {
	return r.view(ctx, "miniplane-volumes", facts, func(root string) error {
		for _, volume := range full {
			source, err := continuity.RootPath(root, volume.path)
			if err != nil {
				return err
			}
			err = continuity.CopyDir(filepath.Join(to, volume.name), source, continuity.WithXAttrExclude("security.selinux"))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// view shows an image's files to read, and what it takes for that is gone afterwards.
func (r *Runtime) view(ctx context.Context, name string, facts *imageFacts, read func(root string) error) error {
	return r.viewOf(ctx, name, facts, func(mounts []mount.Mount) error { return r.look(mounts, read) })
}

// viewOf gives the mounts by which an image's files are seen. What is mounted so stays when the view is gone.
func (r *Runtime) viewOf(ctx context.Context, name string, facts *imageFacts, use func(mounts []mount.Mount) error) error {
	lease, done, err := r.lease(ctx)
	if err != nil {
		return err
	}
	defer done()
	key := fmt.Sprintf("%s-%d", name, time.Now().UnixNano())
	var mounts []mount.Mount
	if mounts, err = r.snaps.View(lease, key, facts.chainID); err != nil {
		return fmt.Errorf("look into the image: %w", native(err))
	}
	defer r.snaps.Remove(lease, key) //nolint:errcheck // the lease's end removes it too
	return use(mounts)
}
