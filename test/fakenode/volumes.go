package fakenode

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"miniplane.dev/miniplane/nodeagent/volumes"
)

// Volumes are volumes of MiniPods in memory. They stay when the agent ends.
type Volumes struct {
	mu    sync.Mutex
	there map[types.UID]map[string]volumes.Wanted
	makes int
	fails error
	usage map[string]int64
	files map[string]string // by volume and path
}

// NewVolumes has none.
func NewVolumes() *Volumes {
	return &Volumes{there: map[types.UID]map[string]volumes.Wanted{}, files: map[string]string{}}
}

// Fail makes every making fail from now on; nil: work.
func (v *Volumes) Fail(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fails = err
}

// Makes is how often volumes were made, or brought up to date.
func (v *Volumes) Makes() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.makes
}

// Of are the volumes of a MiniPod as they are now, by their names.
func (v *Volumes) Of(uid types.UID) map[string]volumes.Wanted {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.there[uid])
}

// Make implements volumes.Manager.
func (v *Volumes) Make(ctx context.Context, uid types.UID, wanted []volumes.Wanted) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.makes++
	if err := errors.Join(ctx.Err(), v.fails); err != nil {
		return err
	}
	if v.there[uid] == nil {
		v.there[uid] = map[string]volumes.Wanted{}
	}
	for _, w := range wanted {
		v.there[uid][w.Name] = w
	}
	return nil
}

// Made implements volumes.Manager.
func (v *Volumes) Made(uid types.UID, volume string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, made := v.there[uid][volume]
	return made
}

// Mount implements volumes.Manager. The place tells what is mounted.
func (v *Volumes) Mount(uid types.UID, w volumes.Wanted, _ string, _ int, subPath string) (string, error) {
	if !v.Made(uid, w.Name) {
		return "", fmt.Errorf("volume %q was not made", w.Name)
	}
	return path.Join("/volumes", w.Name, subPath), nil
}

// Put writes a file as a container would, into the emptyDirs of that name of all MiniPods.
func (v *Volumes) Put(volume, path, text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.files[volume+"/"+path] = text
}

// Read implements volumes.Manager.
func (v *Volumes) Read(uid types.UID, w volumes.Wanted, path string, _ int64) ([]byte, error) {
	if !v.Made(uid, w.Name) {
		return nil, fmt.Errorf("volume %q was not made", w.Name)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	text, there := v.files[w.Name+"/"+path]
	if !there {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

// Use makes volumes take so many bytes from now on, by their names.
func (v *Volumes) Use(usage map[string]int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.usage = usage
}

// Usage implements volumes.Manager.
func (v *Volumes) Usage(ctx context.Context, _ types.UID, names []string) (map[string]int64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := map[string]int64{}
	for _, name := range names {
		out[name] = v.usage[name]
	}
	return out, ctx.Err()
}

// OfImage implements volumes.Manager.
func (v *Volumes) OfImage(types.UID, string) string { return "" }

// RemoveOfImage implements volumes.Manager.
func (v *Volumes) RemoveOfImage(types.UID, string) error { return nil }

// List implements volumes.Manager.
func (v *Volumes) List() ([]types.UID, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Collect(maps.Keys(v.there)), nil
}

// Remove implements volumes.Manager.
func (v *Volumes) Remove(uid types.UID) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.there, uid)
	return nil
}
