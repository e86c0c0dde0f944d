package podworker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"k8s.io/apimachinery/pkg/types"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"miniplane.dev/miniplane/nodeagent/network"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/sandbox"
	"miniplane.dev/miniplane/nodeagent/volumes"
)

// mortal is an agent's way to everything outside of it: the runtime, sandboxes, the network, volumes, the API server, and what it writes down. At one of its steps
// the agent dies, before the step or after it, with the answer lost. From then on it reaches nothing, whatever its goroutines still try, as in a kill.
type mortal struct {
	mu    sync.Mutex
	armed bool
	count int
	// at is the step at which it dies; after says that the step is still done.
	at    int
	after bool
	dead  chan struct{}
	// last is the step at which it died.
	last string
}

// errDead is what a dead agent is told, of which nothing follows.
var errDead = errors.Join(errors.New("this agent is dead"), context.DeadlineExceeded, errdefs.ErrUnavailable)

func newMortal(at int, after, armed bool) *mortal {
	return &mortal{at: at, after: after, armed: armed, dead: make(chan struct{})}
}

// arm has steps counted from now on.
func (m *mortal) arm() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.armed = true
}

func (m *mortal) isDead() bool {
	select {
	case <-m.dead:
		return true
	default:
		return false
	}
}

// step does a step, unless the agent is dead.
func (m *mortal) step(what string, do func() error) error {
	m.mu.Lock()
	if m.isDead() {
		m.mu.Unlock()
		return errDead
	}
	dies := false
	if m.armed {
		m.count++
		if dies = m.count == m.at; dies {
			m.last = fmt.Sprintf("%s (after it: %t)", what, m.after)
		}
	}
	if dies && !m.after {
		close(m.dead)
	}
	m.mu.Unlock()
	if dies && !m.after {
		return errDead
	}
	err := do()
	if dies {
		close(m.dead)
	}
	if m.isDead() {
		return errDead
	}
	return err
}

// look does what changes nothing.
func (m *mortal) look() error {
	if m.isDead() {
		return errDead
	}
	return nil
}

// writing is how an agent changes what it writes down for the next one.
func (b *bench) writing(m *mortal) func(what string, change func() error) error {
	return func(what string, change func() error) error {
		noted := func() error {
			err := change()
			if err == nil && b.wrote != nil {
				b.wrote(what)
			}
			return err
		}
		if m == nil {
			return noted()
		}
		return m.step(strings.TrimSpace(what), noted)
	}
}

// take puts it between an agent and all that it has.
func (m *mortal) take(o *Options) {
	o.Runtime = mortalRuntime{o.Runtime, m}
	o.Sandboxes = mortalSandboxes{o.Sandboxes, m}
	o.Network = mortalNetwork{o.Network, m}
	o.Volumes = mortalVolumes{o.Volumes, m}
	o.Client = m.client(o.Client)
}

func (m *mortal) client(c client.Client) client.Client {
	return interceptor.NewClient(withWatch{c}, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
			if err := m.look(); err != nil {
				return err
			}
			return c.Get(ctx, key, object, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, object client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return m.step("patch", func() error { return c.Patch(ctx, object, patch, opts...) })
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, object client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			return m.step("patch of "+sub, func() error { return c.SubResource(sub).Patch(ctx, object, patch, opts...) })
		},
	})
}

// withWatch makes a client one that could watch, which agents do not.
type withWatch struct{ client.Client }

func (withWatch) Watch(context.Context, client.ObjectList, ...client.ListOption) (apiwatch.Interface, error) {
	return nil, errDead
}

type mortalRuntime struct {
	runtime.Runtime
	m *mortal
}

func (r mortalRuntime) Image(ctx context.Context, ref string) (image runtime.Image, err error) {
	if err := r.m.look(); err != nil {
		return image, err
	}
	return r.Runtime.Image(ctx, ref)
}

func (r mortalRuntime) PullImage(ctx context.Context, ref string, auths []runtime.RegistryAuth) (image runtime.Image, err error) {
	err = r.m.step("pull "+ref, func() error { image, err = r.Runtime.PullImage(ctx, ref, auths); return err })
	return image, err
}

func (r mortalRuntime) MountImage(ctx context.Context, holder string, image runtime.Image, target string) error {
	return r.m.step("mount image", func() error { return r.Runtime.MountImage(ctx, holder, image, target) })
}

func (r mortalRuntime) Release(ctx context.Context, holder string) error {
	return r.m.step("release", func() error { return r.Runtime.Release(ctx, holder) })
}

func (r mortalRuntime) Create(ctx context.Context, spec runtime.ContainerSpec) error {
	return r.m.step("create "+spec.ID[uidLength+1:], func() error { return r.Runtime.Create(ctx, spec) })
}

func (r mortalRuntime) Start(ctx context.Context, id string) error {
	return r.m.step("start "+id[uidLength+1:], func() error { return r.Runtime.Start(ctx, id) })
}

func (r mortalRuntime) Kill(ctx context.Context, id string, signal runtime.Signal) error {
	return r.m.step("kill "+id[uidLength+1:], func() error { return r.Runtime.Kill(ctx, id, signal) })
}

// Exec counts commands of hooks; those of probes change nothing.
func (r mortalRuntime) Exec(ctx context.Context, id string, command runtime.Command) (out runtime.Executed, err error) {
	if strings.HasPrefix(command.Args[0], "probe") {
		if err := r.m.look(); err != nil {
			return out, err
		}
		return r.Runtime.Exec(ctx, id, command)
	}
	err = r.m.step("exec "+command.Args[0], func() error { out, err = r.Runtime.Exec(ctx, id, command); return err })
	return out, err
}

func (r mortalRuntime) Remove(ctx context.Context, id string) error {
	return r.m.step("remove "+id[uidLength+1:], func() error { return r.Runtime.Remove(ctx, id) })
}

func (r mortalRuntime) Inspect(ctx context.Context, id string) (c runtime.Container, err error) {
	if err := r.m.look(); err != nil {
		return c, err
	}
	return r.Runtime.Inspect(ctx, id)
}

type mortalSandboxes struct {
	sandbox.Manager
	m *mortal
}

func (s mortalSandboxes) Ensure(ctx context.Context, spec sandbox.Spec) (box sandbox.Sandbox, err error) {
	err = s.m.step("sandbox", func() error { box, err = s.Manager.Ensure(ctx, spec); return err })
	return box, err
}

func (s mortalSandboxes) Remove(ctx context.Context, uid string) error {
	return s.m.step("remove sandbox", func() error { return s.Manager.Remove(ctx, uid) })
}

type mortalNetwork struct {
	network.Network
	m *mortal
}

func (n mortalNetwork) Attach(ctx context.Context, uid, namespace string) (address netip.Addr, err error) {
	err = n.m.step("attach", func() error { address, err = n.Network.Attach(ctx, uid, namespace); return err })
	return address, err
}

func (n mortalNetwork) Detach(ctx context.Context, uid string) error {
	return n.m.step("detach", func() error { return n.Network.Detach(ctx, uid) })
}

type mortalVolumes struct {
	volumes.Manager
	m *mortal
}

// Make has images mounted as the real one does, before what it makes is known.
func (v mortalVolumes) Make(ctx context.Context, uid types.UID, wanted []volumes.Wanted) error {
	for _, w := range wanted {
		if w.Image && !v.Made(uid, w.Name) {
			if err := w.Fill(ctx, "/volumes/"+w.Name); err != nil {
				return err
			}
		}
		// One by one: the agent may die between any two.
		err := v.m.step("volume "+w.Name, func() error { return v.Manager.Make(ctx, uid, []volumes.Wanted{w}) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (v mortalVolumes) Remove(uid types.UID) error {
	return v.m.step("remove volumes", func() error { return v.Manager.Remove(uid) })
}
