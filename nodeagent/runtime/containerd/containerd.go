// Package containerd runs containers with containerd, from 1.6 to 2.4, in a namespace of its own.
//
// The idea: containerd and the kernel are the only memory. A container's record is written first, in one transaction, with
// everything a later agent must know in its labels; its snapshot comes second, so that containerd's garbage collector
// never sees a snapshot that nothing refers to, and no lease is needed. Creating and starting talk to the services below
// the client library's objects, because those read the record again for every step.
//
// A container's way, and what each step leaves behind when the agent dies after it:
//
//	Create   record        Created; Start makes the snapshot
//	         snapshot      Created
//	Start    task          Created; Start goes on, or makes anew what containerd broke off
//	         marker        a file below StateDir: "may run from now on", and which process it is
//	         start         Running
//	exit     label         the exit status, written when the event is seen, outlives the shim and the machine
//	Remove   task, snapshot, cgroup, marker, and last the record, so that List shows it until nothing is left
//
// Output does not pass through the agent. The shim starts `pause log` for each container (containerd calls this binary
// logging), which owns the log file and lives as long as the container's pipes do. So no line is lost, doubled or delayed
// while the agent is away, and a container never blocks on a full pipe; FIFOs could promise neither, because the shim
// closes both ends when a container exits and what nobody has read is gone with them.
//
// What makes it hard: exit, OOM and start are told by events that may be missed, repeated or late, and states live in three
// places (record, shim, kernel), and who does not answer has not said no. Therefore List alone says what is true, and the
// order of evidence is fixed: the exit label; the kernel, which always answers and knows the process by the marker; the
// shim, only about what the kernel does not show. Where a container outlives the server that started it (ours lets it), nobody is told
// of its end; then the kernel is asked for that too (see orphan.go). That no process is left needs proof: another boot, or a cgroup without
// processes. What nobody tells is StateUnanswered.
package containerd

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/stdio"
)

const (
	runtimeName = "io.containerd.runc.v2"
	snapshotter = "overlayfs"
)

// settled is how long a thing must stay as it is for nobody to be at work on it: longer than any call that starts or ends a container
// may take, and than containerd tries to clean up after a server.
const settled = time.Minute

// Options configure the runtime.
type Options struct {
	// Address of containerd's socket.
	Address string
	// Namespace in containerd, "miniplane" when empty.
	Namespace string
	// StateDir is for what must not outlive a boot: markers and sockets. Absolute; at most 60 characters long.
	StateDir string
	// PauseBinary is cmd/pause at a path that the shims see too. It copies output to logs.
	PauseBinary string
	// Shim is the directory that InstallShim returned; containers are started with containerd's own shim and runc when empty.
	Shim string
	// GroupsPerServer is how many MiniPods one server of the shim starts at most; 32 when zero.
	GroupsPerServer int
	// RuncBinary is used instead of the runc in containerd's path when not empty.
	RuncBinary string
	// InsecureRegistries are host:port of registries that are spoken to by plain http.
	InsecureRegistries []string
	// Logs bound what a container's output takes of the disk; a kubelet's limits when zero.
	Logs stdio.Limits
}

// Runtime is containerd's. Use New.
type Runtime struct {
	// Logs counts what happens to the logs of all containers, for Prometheus.
	Logs *stdio.Counter

	opts    Options
	client  *client.Client
	snaps   snapshots.Snapshotter
	images  imageCache
	oomMin  int
	bootID  string
	persist sync.WaitGroup // exit labels being written

	mu        sync.Mutex
	started   map[string]prepared      // what Create knows and Start needs
	processes map[string]specs.Process // of containers in which commands were run
	ooms      map[string]bool          // containers with an OOM event
	silent    map[string]time.Time     // shims that did not answer, and when
	orphans   orphans
	// name is this agent's, and no other's before or after it; released is set once nothing is held for earlier ones.
	name     string
	released bool

	sweeping sync.Mutex
	suspects map[int]string      // shims, by PID, that the last Sweep found nothing for
	left     map[string]sighting // what the last Sweep found of containers whose servers are gone
	settled  time.Duration       // and how long it must stay as it is

	clearing sync.Mutex // one leftover at a time

	placing sync.Mutex        // held for longer than mu
	places  *places           // nil until the records were listed once
	avoid   map[int]time.Time // servers that did not answer, and until when they get no new MiniPods
}

var _ runtime.Runtime = (*Runtime)(nil)

// New connects to containerd, which need not answer yet.
func New(opts Options) (*Runtime, error) {
	if opts.Namespace == "" {
		opts.Namespace = "miniplane"
	}
	if opts.GroupsPerServer <= 0 {
		opts.GroupsPerServer = groupsPerServer
	}
	if opts.Logs == (stdio.Limits{}) {
		opts.Logs = stdio.DefaultLimits
	}
	if len(opts.StateDir) > 60 || !filepath.IsAbs(opts.StateDir) {
		return nil, fmt.Errorf("state directory %q must be an absolute path of at most 60 characters", opts.StateDir)
	}
	if err := os.MkdirAll(filepath.Join(opts.StateDir, "containers"), 0o700); err != nil {
		return nil, err
	}
	if info, err := os.Stat(opts.PauseBinary); err != nil || info.Mode()&0o111 == 0 {
		return nil, fmt.Errorf("pause binary %q is not an executable file (hack/pause.sh builds it)", opts.PauseBinary)
	}
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, err
	}
	c, err := client.New(opts.Address, client.WithDefaultNamespace(opts.Namespace), client.WithTimeout(2*time.Second),
		client.WithExtraDialOpts([]grpc.DialOption{grpc.WithChainUnaryInterceptor(bounded)}))
	if err != nil {
		return nil, fmt.Errorf("containerd at %s: %w", opts.Address, err)
	}
	r := &Runtime{
		Logs: stdio.NewCounter(filepath.Join(opts.StateDir, "containers", "*", "log")),
		opts: opts, client: c, snaps: c.SnapshotService(snapshotter),
		settled: settled, bootID: strings.TrimSpace(string(bootID)), oomMin: lowestOOMScore(), name: rand.Text(),
		started: map[string]prepared{}, processes: map[string]specs.Process{}, ooms: map[string]bool{}, silent: map[string]time.Time{}, avoid: map[int]time.Time{},
	}
	r.images.byDigest = map[string]*imageFacts{}
	return r, nil
}

// Close ends the connection. Containers run on.
func (r *Runtime) Close() error {
	r.letOrphansBe()
	r.persist.Wait()
	return r.client.Close()
}

// Version implements runtime.Runtime.
func (r *Runtime) Version(ctx context.Context) (string, error) {
	version, err := r.client.Version(ctx)
	if err != nil {
		return "", native(err)
	}
	return "containerd://" + strings.TrimPrefix(strings.Fields(version.Version)[0], "v"), nil
}

// ns puts containerd's namespace into a context, for the parts of the library that look for it there.
func (r *Runtime) ns(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, r.opts.Namespace)
}

// native turns an error of the wire into the errdefs class it stands for, once.
func native(err error) error {
	if _, onWire := status.FromError(err); err == nil || !onWire {
		return err
	}
	return errgrpc.ToNative(err)
}

// ignore gives nil for a NotFound.
func ignore(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}
