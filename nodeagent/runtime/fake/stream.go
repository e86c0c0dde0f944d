package fake

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"miniplane.dev/miniplane/nodeagent/imageaccess"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

// backlog is how many events a reader may be behind before it loses its stream.
const backlog = 4096

// stream is one reader's events.
type stream struct{ ch chan runtime.Event }

// Events implements runtime.Runtime.
func (r *Runtime) Events(ctx context.Context) (<-chan runtime.Event, error) {
	if err := r.begin(ctx, OpEvents, ""); err != nil {
		return nil, err
	}
	s := &stream{make(chan runtime.Event, backlog)}
	r.mu.Lock()
	r.streams[s] = struct{}{}
	r.mu.Unlock()
	context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.drop(s)
	})
	return s.ch, nil
}

// emit needs the lock.
func (r *Runtime) emit(kind runtime.EventType, id string) {
	for s := range r.streams {
		select {
		case s.ch <- runtime.Event{Type: kind, ContainerID: id, Time: r.now()}:
		default:
			r.drop(s)
		}
	}
}

// drop needs the lock.
func (r *Runtime) drop(s *stream) {
	if _, open := r.streams[s]; open {
		delete(r.streams, s)
		close(s.ch)
	}
}

// dropStreams needs the lock.
func (r *Runtime) dropStreams() {
	for s := range r.streams {
		r.drop(s)
	}
}

// addImage needs the lock.
func (r *Runtime) addImage(ref string, size int64) *runtime.Image {
	id := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(ref)))
	r.images[ref] = &runtime.Image{Names: []string{ref}, ID: id, SizeBytes: size}
	return r.images[ref]
}

// accessAfter is what a registry's consent says about who may run the image. It needs the lock.
func (r *Runtime) accessAfter(ref string, auths []runtime.RegistryAuth) (string, error) {
	pull := imageaccess.Pull{Salt: make([]byte, imageaccess.SaltBytes)}
	if wanted, private := r.private[ref]; private {
		fitting := imageaccess.Fitting(ref, auths)
		i := slices.IndexFunc(fitting, func(a runtime.RegistryAuth) bool {
			return a.Username == wanted.Username && a.Password == wanted.Password
		})
		if i < 0 {
			return "", fmt.Errorf("the registry wants a login: %w", errdefs.ErrUnauthenticated)
		}
		pull.Auth = fitting[i]
	}
	if before, there := r.images[ref]; there {
		pull.Same, pull.Before = true, imageaccess.Parse(before.Access)
	}
	return imageaccess.After(pull).String(), nil
}

func clone(image *runtime.Image) runtime.Image {
	out := *image
	out.Names = slices.Clone(image.Names)
	return out
}

func cloneMap(m map[string]string) map[string]string { return maps.Clone(m) }

func contains(ops []Op, op Op) bool { return slices.Contains(ops, op) }

// writeLog appends lines in the CRI log format.
func writeLog(path string, now time.Time, lines []string) error {
	if path == "" || len(lines) == 0 {
		return nil
	}
	var text strings.Builder
	for _, line := range lines {
		fmt.Fprintf(&text, "%s stdout F %s\n", now.UTC().Format(time.RFC3339Nano), line)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text.String())
	return err
}
