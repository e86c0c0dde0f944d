// Package fake is a container runtime in memory. It behaves like the real one as far as the interface promises anything:
// containers have states, processes react to signals, events arrive in order, images must be present, and everything
// survives the agent, because a new agent is simply given the same Runtime.
//
// What a container does is decided by a Program, a function of its spec; without one it runs until it is told to end.
// Tests look inside and make things go wrong through the functions in hooks.go. The conformance suite keeps the fake honest.
package fake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

// Behaviour is what a container's process does once started.
type Behaviour struct {
	// Output are lines written to the log's stdout stream right after the start.
	Output []string
	// Exits makes the process end by itself, ExitAfter its start, with ExitCode.
	Exits     bool
	ExitAfter time.Duration
	ExitCode  int
	// IgnoresTerm makes the process survive everything but SIGKILL. Otherwise a signal ends it with 128 + its number.
	IgnoresTerm bool
	// OnTerm is the exit code of a process that ends in order on SIGTERM; 0 means 143, as of one that does not care.
	OnTerm int
	// StartError makes Start fail, as for an executable that is not there.
	StartError error
}

// Program decides what a container does.
type Program func(spec runtime.ContainerSpec) Behaviour

// Runtime is the fake. Use New.
type Runtime struct {
	mu         sync.Mutex
	now        func() time.Time
	program    Program
	execs      Execute
	images     map[string]*runtime.Image // by name
	users      map[string]uint32         // that images run as; root when not here
	stops      map[string]runtime.Signal // by which images ask to be ended; SIGTERM when not here
	registry   map[string]error          // what a pull of a reference gives; nil: works
	pullAny    bool
	private    map[string]runtime.RegistryAuth // what the registry wants for a reference
	containers map[string]*container
	streams    map[*stream]struct{}
	hooks      []Hook
	calls      []Call
	nextPID    int
	held       map[string][]string // images by holder
	down       error
	copies     func(runtime.ContainerSpec)
}

type container struct {
	spec      runtime.ContainerSpec
	behaviour Behaviour
	status    runtime.Container
	timer     *time.Timer
	silent    bool
	stop      runtime.Signal // of its image
}

var _ runtime.Runtime = (*Runtime)(nil)

// New makes a runtime with these images present.
func New(images ...string) *Runtime {
	r := &Runtime{
		now:        time.Now,
		program:    func(runtime.ContainerSpec) Behaviour { return Behaviour{} },
		images:     map[string]*runtime.Image{},
		users:      map[string]uint32{},
		stops:      map[string]runtime.Signal{},
		registry:   map[string]error{},
		private:    map[string]runtime.RegistryAuth{},
		containers: map[string]*container{},
		streams:    map[*stream]struct{}{},
		nextPID:    1000,
	}
	for _, ref := range images {
		r.AddImage(ref, 1<<20)
	}
	return r
}

// Version implements runtime.Runtime.
func (r *Runtime) Version(ctx context.Context) (string, error) {
	if err := r.begin(ctx, OpVersion, ""); err != nil {
		return "", err
	}
	return "fake://1.0", nil
}

// Image implements runtime.Runtime.
func (r *Runtime) Image(ctx context.Context, ref string) (runtime.Image, error) {
	if err := r.begin(ctx, OpImage, ref); err != nil {
		return runtime.Image{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if image, ok := r.images[ref]; ok {
		return clone(image), nil
	}
	return runtime.Image{}, fmt.Errorf("image %q: %w", ref, errdefs.ErrNotFound)
}

// PullImage implements runtime.Runtime.
func (r *Runtime) PullImage(ctx context.Context, ref string, auths []runtime.RegistryAuth) (runtime.Image, error) {
	if err := r.begin(ctx, OpPull, ref); err != nil {
		return runtime.Image{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	err, known := r.registry[ref]
	if err == nil && !known && !r.pullAny {
		err = fmt.Errorf("no such image in the registry: %w", errdefs.ErrNotFound)
	}
	if err != nil {
		return runtime.Image{}, fmt.Errorf("pull %q: %w", ref, err)
	}
	access, err := r.accessAfter(ref, auths)
	if err != nil {
		return runtime.Image{}, fmt.Errorf("pull %q: %w", ref, err)
	}
	image := r.addImage(ref, 1<<20)
	image.Access = access
	return clone(image), nil
}

// Images implements runtime.Runtime.
func (r *Runtime) Images(ctx context.Context) ([]runtime.Image, error) {
	if err := r.begin(ctx, OpImages, ""); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []runtime.Image
	for _, image := range r.images {
		if !slices.ContainsFunc(out, func(i runtime.Image) bool { return i.ID == image.ID }) {
			out = append(out, clone(image))
		}
	}
	slices.SortFunc(out, func(a, b runtime.Image) int { return cmp.Compare(a.Names[0], b.Names[0]) })
	return out, nil
}

// Create implements runtime.Runtime.
func (r *Runtime) Create(ctx context.Context, spec runtime.ContainerSpec) error {
	if err := r.begin(ctx, OpCreate, spec.ID); err != nil {
		return err
	}
	if err := runtime.ValidateID(spec.ID); err != nil {
		return err
	}
	if copies := r.copying(); copies != nil {
		if err := spec.Copy(ctx, func() error { copies(spec); return nil }); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.containers[spec.ID] != nil {
		return fmt.Errorf("container %q: %w", spec.ID, errdefs.ErrAlreadyExists)
	}
	image, ok := r.images[spec.Image]
	if !ok || spec.ImageID != "" && spec.ImageID != image.ID {
		return fmt.Errorf("image %q: %w", spec.Image, errdefs.ErrNotFound)
	}
	user := r.users[spec.Image]
	if spec.Security.User != nil {
		user = *spec.Security.User
	}
	if spec.Security.NonRoot && user == 0 {
		return fmt.Errorf("%w: it would run as root", runtime.ErrSettings)
	}
	r.containers[spec.ID] = &container{spec: spec, stop: r.stops[spec.Image], status: runtime.Container{
		ID: spec.ID, Labels: cloneMap(spec.Labels), Image: spec.Image, ImageID: image.ID,
		State: runtime.StateCreated, CreatedAt: r.now(),
	}}
	return nil
}

func (r *Runtime) copying() func(runtime.ContainerSpec) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.copies
}

// Start implements runtime.Runtime.
func (r *Runtime) Start(ctx context.Context, id string) error {
	if err := r.begin(ctx, OpStart, id); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	if c == nil {
		return fmt.Errorf("container %q: %w", id, errdefs.ErrNotFound)
	}
	if c.status.State != runtime.StateCreated {
		return fmt.Errorf("container %q was started before: %w", id, errdefs.ErrAlreadyExists)
	}
	c.behaviour = r.program(c.spec)
	if err := c.behaviour.StartError; err != nil {
		return err
	}
	if err := writeLog(c.spec.LogPath, r.now(), c.behaviour.Output); err != nil {
		return err
	}
	r.nextPID++
	c.status.State, c.status.PID, c.status.StartedAt = runtime.StateRunning, r.nextPID, r.now()
	r.emit(runtime.EventStarted, id)
	if c.behaviour.Exits {
		c.timer = time.AfterFunc(c.behaviour.ExitAfter, func() { _ = r.end(c, c.behaviour.ExitCode, false) })
	}
	return nil
}

// Kill implements runtime.Runtime.
func (r *Runtime) Kill(ctx context.Context, id string, signal runtime.Signal) error {
	if err := r.begin(ctx, OpKill, id); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	if c == nil || c.status.State != runtime.StateRunning {
		return fmt.Errorf("container %q does not run: %w", id, errdefs.ErrNotFound)
	}
	if signal == runtime.StopSignal {
		signal = cmp.Or(c.spec.StopSignal, c.stop, runtime.SIGTERM)
	}
	code := 128 + int(signal)
	switch {
	case signal == 0, signal != runtime.SIGKILL && c.behaviour.IgnoresTerm:
		return nil
	case signal == runtime.SIGTERM && c.behaviour.OnTerm != 0:
		code = c.behaviour.OnTerm
	}
	r.exit(c, code, false)
	return nil
}

// Remove implements runtime.Runtime.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	if err := r.begin(ctx, OpRemove, id); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	if c == nil {
		return nil
	}
	if c.status.State == runtime.StateRunning {
		r.exit(c, 128+int(runtime.SIGKILL), false)
	}
	delete(r.containers, id)
	r.emit(runtime.EventDeleted, id)
	return nil
}

// List implements runtime.Runtime.
func (r *Runtime) List(ctx context.Context) ([]runtime.Container, error) {
	if err := r.begin(ctx, OpList, ""); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]runtime.Container, 0, len(r.containers))
	for _, c := range r.containers {
		out = append(out, c.look())
	}
	slices.SortFunc(out, func(a, b runtime.Container) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

// Inspect implements runtime.Runtime.
func (r *Runtime) Inspect(ctx context.Context, id string) (runtime.Container, error) {
	if err := r.begin(ctx, OpInspect, id); err != nil {
		return runtime.Container{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	if c == nil {
		return runtime.Container{}, fmt.Errorf("container %q: %w", id, errdefs.ErrNotFound)
	}
	return c.look(), nil
}

// Sweep implements runtime.Runtime: nothing is lost here.
func (r *Runtime) Sweep(ctx context.Context) error { return r.begin(ctx, OpSweep, "") }

// MountImage implements runtime.Runtime. Nothing is mounted.
func (r *Runtime) MountImage(ctx context.Context, holder string, image runtime.Image, _ string) error {
	there, err := r.Image(ctx, image.Names[0])
	if err != nil {
		return err
	}
	if there.ID != image.ID {
		return fmt.Errorf("image %s: %w", image.Names[0], errdefs.ErrNotFound)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held == nil {
		r.held = map[string][]string{}
	}
	r.held[holder] = append(r.held[holder], image.ID)
	return nil
}

// Release implements runtime.Runtime.
func (r *Runtime) Release(_ context.Context, holder string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.held, holder)
	return r.down
}

// Holders implements runtime.Runtime.
func (r *Runtime) Holders(context.Context) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.held)), r.down
}

// look is what the runtime tells of a container.
func (c *container) look() runtime.Container {
	out := c.status
	out.Labels = cloneMap(out.Labels)
	if c.silent && out.State != runtime.StateCreated {
		out.State, out.PID, out.ExitCode, out.FinishedAt, out.OOMKilled = runtime.StateUnanswered, 0, 0, time.Time{}, false
	}
	return out
}

var errNotRunning = errors.New("not running")

// end lets a running container exit.
func (r *Runtime) end(c *container, code int, oom bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.status.State != runtime.StateRunning {
		return errNotRunning
	}
	r.exit(c, code, oom)
	return nil
}

// exit needs the lock.
func (r *Runtime) exit(c *container, code int, oom bool) {
	if c.timer != nil {
		c.timer.Stop()
	}
	c.status.State, c.status.PID = runtime.StateExited, 0
	c.status.ExitCode, c.status.FinishedAt, c.status.OOMKilled = code, r.now(), oom
	if oom {
		r.emit(runtime.EventOOM, c.spec.ID)
	}
	r.emit(runtime.EventExited, c.spec.ID)
}
