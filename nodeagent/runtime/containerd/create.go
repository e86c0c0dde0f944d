package containerd

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

// Labels of a record that are the runtime's own and not shown by List.
const (
	labelPrefix  = "runtime.miniplane.dev/"
	labelBoot    = labelPrefix + "boot"
	labelImageID = labelPrefix + "image-id"
	labelExit    = labelPrefix + "exit"
	labelStop    = labelPrefix + "stop-signal"
)

// maxRecord bounds the record of a container, in bytes: the records of all containers are read together, again and again, and one that containerd takes as large as it takes
// anything (16 MiB) it could not list any more, nor any other.
const maxRecord = 1 << 20

// prepared is what Start needs to know of a created container.
type prepared struct {
	mounts  []mount.Mount
	logPath string
}

// Create implements runtime.Runtime. The record comes before the snapshot: see the package comment.
func (r *Runtime) Create(ctx context.Context, spec runtime.ContainerSpec) error {
	if err := runtime.ValidateID(spec.ID); err != nil {
		return err
	}
	facts, err := r.lookupFor(ctx, &spec)
	if err != nil {
		return err
	}
	if err := checkProcess(&facts.config); err != nil {
		return err
	}
	may, err := r.rightsOf(&spec.Security, facts)
	if err != nil {
		return err
	}
	if err := r.withVolumes(ctx, &spec, facts); err != nil {
		return err
	}
	oci := ociSpec(spec, facts, may, r.oomMin)
	if len(oci.Process.Args) == 0 {
		return fmt.Errorf("image %q has no command and none was given: %w", spec.Image, errdefs.ErrInvalidArgument)
	}
	record, err := r.record(ctx, spec, facts, oci)
	if err != nil {
		return err
	}
	if _, err := r.client.ContainerService().Create(ctx, record); err != nil {
		if err = native(err); !errdefs.IsAlreadyExists(err) && !runtime.IsUnanswered(err) {
			r.displaced(spec.ID)
		}
		return fmt.Errorf("record of container %q: %w", spec.ID, err)
	}
	mounts, err := r.prepare(ctx, &spec, facts)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.started[spec.ID] = prepared{mounts: mounts, logPath: spec.LogPath}
	r.mu.Unlock()
	return nil
}

func (r *Runtime) record(ctx context.Context, spec runtime.ContainerSpec, facts *imageFacts, oci *specs.Spec) (containers.Container, error) {
	out := containers.Container{
		ID: spec.ID, Labels: map[string]string{labelBoot: r.bootID, labelImageID: facts.id},
		Image: spec.Image, Snapshotter: snapshotter, SnapshotKey: spec.ID,
	}
	maps.Copy(out.Labels, spec.Labels)
	if signal := stopSignalFor(&spec, facts); signal != runtime.SIGTERM {
		out.Labels[labelStop] = strconv.Itoa(int(signal))
	}
	var err error
	if out.Spec, err = typeurl.MarshalAny(oci); err != nil {
		return out, err
	}
	if size := len(out.Spec.GetValue()); size > maxRecord {
		return out, fmt.Errorf("what the container is to be told (variables, command, arguments) has %d bytes as it is written down, and at most %d are: %w",
			size, maxRecord, errdefs.ErrInvalidArgument)
	}
	if r.opts.Shim != "" {
		if out.Runtime.Name, err = r.runtimeOf(ctx, spec.ID); err != nil {
			err = fmt.Errorf("server of container %q: %w", spec.ID, err)
		}
		return out, err
	}
	out.Runtime.Name = runtimeName
	out.Runtime.Options, err = typeurl.MarshalAny(&options.Options{BinaryName: r.opts.RuncBinary})
	return out, err
}

// prepare makes the container's own layer. When the image's layers were collected meanwhile, they are unpacked anew.
func (r *Runtime) prepare(ctx context.Context, spec *runtime.ContainerSpec, facts *imageFacts) ([]mount.Mount, error) {
	mounts, err := r.snaps.Prepare(ctx, spec.ID, facts.chainID)
	if err = native(err); errdefs.IsNotFound(err) {
		r.images.forget(facts)
		if facts, err = r.lookupFor(ctx, spec); err != nil {
			return nil, err
		}
		mounts, err = r.snaps.Prepare(ctx, spec.ID, facts.chainID)
		err = native(err)
	}
	if err != nil {
		return nil, fmt.Errorf("file system of container %q: %w", spec.ID, err)
	}
	return mounts, nil
}

// recall is what Create knew, read again for a container that an earlier agent created, perhaps only in part.
func (r *Runtime) recall(ctx context.Context, id string) (prepared, error) {
	r.mu.Lock()
	p, ok := r.started[id]
	delete(r.started, id)
	r.mu.Unlock()
	if ok {
		return p, nil
	}
	record, err := r.client.ContainerService().Get(ctx, id)
	if err != nil {
		return prepared{}, fmt.Errorf("container %q: %w", id, native(err))
	}
	p.logPath = peek(record).Annotations[annotationLog]
	p.mounts, err = r.snaps.Mounts(ctx, id)
	if err = native(err); errdefs.IsNotFound(err) {
		p.mounts, err = r.prepareAgain(ctx, record)
	}
	return p, err
}

// prepareAgain makes the layer of a container whose Create was cut short. That its image is gone is not that the container is.
func (r *Runtime) prepareAgain(ctx context.Context, record containers.Container) ([]mount.Mount, error) {
	spec := &runtime.ContainerSpec{ID: record.ID, Image: record.Image, ImageID: record.Labels[labelImageID]}
	facts, err := r.lookupFor(ctx, spec)
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("%s: %w", err.Error(), errdefs.ErrFailedPrecondition)
	}
	if err != nil {
		return nil, err
	}
	return r.prepare(ctx, spec, facts)
}

// peeked is the part of an OCI spec that is needed again.
type peeked struct {
	Annotations map[string]string `json:"annotations"`
	Linux       struct {
		CgroupsPath string `json:"cgroupsPath"`
	} `json:"linux"`
}

func peek(record containers.Container) peeked {
	var out peeked
	if record.Spec != nil {
		_ = json.Unmarshal(record.Spec.GetValue(), &out) // not ours if it does not parse: nothing is known
	}
	return out
}

// causeLost stands where it is told whether memory was why a container ended.
const causeLost = "lost"

// exit is how a container ended, as its label keeps it.
type exit struct {
	code              int
	started, finished time.Time
	oom               bool
	// lost: it ended with the server that ran it, and its code says nothing.
	lost bool
}

func (e exit) String() string {
	cause := strconv.FormatBool(e.oom)
	if e.lost {
		cause = causeLost
	}
	return fmt.Sprintf("%d %d %d %s", e.code, unixNano(e.started), unixNano(e.finished), cause)
}

func parseExit(text string) (exit, bool) {
	fields := strings.Fields(text)
	if len(fields) != 4 {
		return exit{}, false
	}
	var numbers [3]int64
	for i := range numbers {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return exit{}, false
		}
		numbers[i] = n
	}
	return exit{code: int(numbers[0]), started: fromNano(numbers[1]), finished: fromNano(numbers[2]),
		oom: fields[3] == "true", lost: fields[3] == causeLost}, true
}

func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNano(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}
