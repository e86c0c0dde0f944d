package podworker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/grants"
	"miniplane.dev/miniplane/internal/jitter"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/internal/resources"
	"miniplane.dev/miniplane/nodeagent/volumes"
)

// renewAt is the part of a token's life, in tenths, after which it is replaced; as a kubelet's.
const renewAt = 8

// fileFields are the fields of a MiniPod as files have them.
type fileFields struct {
	pod  *miniv1.MiniPod
	node resources.Amounts
}

// Field implements volumes.Fields.
func (f fileFields) Field(path string) string {
	switch path {
	case "metadata.labels":
		return volumes.TextOf(f.pod.Labels)
	case "metadata.annotations":
		return volumes.TextOf(f.pod.Annotations)
	}
	return field(f.pod, path, Facts{})
}

// Amount implements volumes.Fields.
func (f fileFields) Amount(ref *miniv1.ResourceFieldSelector) (string, error) {
	c := podplan.ContainerNamed(f.pod, ref.ContainerName)
	if c == nil {
		return "", fmt.Errorf("resourceFieldRef: there is no container %q", ref.ContainerName)
	}
	return amount(f.pod, c, ref, f.node)
}

// emptyDirMemory is the size of an emptyDir in memory: its own limit, or what the containers may have together, or what the node has; 0 for one
// that is on disk.
func emptyDirMemory(pod *miniv1.MiniPod, source *miniv1.EmptyDirVolumeSource, m Machine) int64 {
	if source == nil || source.Medium == "" {
		return 0
	}
	size := max(m.Node.MemoryBytes, 1)
	if m.Node.MemoryBytes == 0 {
		size = max(m.MemoryBytes, 1)
	}
	if limit, all := memoryOfAll(pod); all {
		size = min(size, limit)
	}
	if source.SizeLimit != nil && resources.Whole(*source.SizeLimit) > 0 {
		size = min(size, resources.Whole(*source.SizeLimit))
	}
	return size
}

// memoryOfAll is what the containers of a MiniPod may have of memory together; false where one of them has no limit.
func memoryOfAll(pod *miniv1.MiniPod) (int64, bool) {
	for _, c := range pod.Spec.AllContainers() {
		if resources.ContainerLimits(c).MemoryBytes == 0 {
			return 0, false
		}
	}
	return resources.Limits(&pod.Spec).MemoryBytes, true
}

// roomForAll is how much more memory than its containers together, in bytes, a MiniPod may have that is bounded: whose limit is reached first is to
// be a container's.
const roomForAll = 4 << 20

// maxMemory is what a MiniPod with volumes in memory may have; 0 where nothing bounds it. What a container leaves in them is not its own any more
// when it ends, so that its limit does not hold it, and each run could fill another one.
func maxMemory(pod *miniv1.MiniPod) int64 {
	if !slices.ContainsFunc(pod.Spec.Volumes, func(v miniv1.Volume) bool { return v.EmptyDir != nil && v.EmptyDir.Medium != "" }) {
		return 0
	}
	if limit, all := memoryOfAll(pod); all {
		return limit + roomForAll
	}
	return 0
}

// groupOf is the group that the volumes of a MiniPod belong to; nil for none.
func groupOf(pod *miniv1.MiniPod) *uint32 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return kernelID(pod.Spec.SecurityContext.FSGroup)
}

// userOf is the user that all containers of a MiniPod run as; nil where they differ, or where an image says it.
func userOf(pod *miniv1.MiniPod) *uint32 {
	var user *uint32
	for _, c := range pod.Spec.AllContainers() {
		own := securityOf(pod, c).User
		if own == nil || user != nil && *user != *own {
			return nil
		}
		user = own
	}
	return user
}

// wantedVolume is what a volume is made of. It has no files yet.
func (p *Pool) wantedVolume(pod *miniv1.MiniPod, v *miniv1.Volume) (volumes.Wanted, error) {
	switch {
	case volumes.HasFiles(v):
		return volumes.Wanted{Name: v.Name, Files: volumes.Files{}}, nil
	case v.Image != nil:
		return volumes.Wanted{Name: v.Name, Image: true}, nil
	case v.HostPath != nil:
		return volumes.Wanted{Name: v.Name, Host: &volumes.Host{Path: v.HostPath.Path, Type: ptr.Deref(v.HostPath.Type, corev1.HostPathUnset)}}, nil
	case v.EmptyDir != nil:
		return volumes.Wanted{Name: v.Name, Memory: emptyDirMemory(pod, v.EmptyDir, p.Machine), Group: groupOf(pod)}, nil
	}
	return volumes.Wanted{}, fmt.Errorf("%s%q: it has no source that this agent knows", podplan.VolumeFailure, v.Name)
}

// nestedIn are the paths in a volume at which containers have other volumes: where a container cannot make them, they have to be there.
func nestedIn(pod *miniv1.MiniPod, volume string) []string {
	var out []string
	for _, c := range pod.Spec.AllContainers() {
		for i := range c.VolumeMounts { // each with each: to be done once, and not for each start of a container
			outer := &c.VolumeMounts[i]
			if outer.Name != volume || outer.SubPath != "" || outer.SubPathExpr != "" {
				continue
			}
			for j := range c.VolumeMounts {
				dir := strings.TrimSuffix(path.Join("/", outer.MountPath), "/") + "/"
				if inner, nested := strings.CutPrefix(path.Join("/", c.VolumeMounts[j].MountPath), dir); nested && inner != "" {
					out = append(out, inner)
				}
			}
		}
	}
	return out
}

// heldToken is a token that was asked for, and until when it is not asked for again.
type heldToken struct {
	text  string
	renew time.Time
}

// made is how far the making of volumes came.
type made struct {
	objects volumes.Objects
	// tokens that it has now; those that were at hand are taken while they are good.
	tokens map[volumes.Token]heldToken
	// keep says that all volumes can be used, from whichever time their files are.
	keep bool
	err  error
	// room is what is left for files.
	room *volumes.Room
}

// renew is when the first of the tokens is to be replaced; zero where there are none.
func (m *made) renew() time.Time {
	var first time.Time
	for _, token := range m.tokens {
		if first.IsZero() || token.renew.Before(first) {
			first = token.renew
		}
	}
	return first
}

// makeVolumes reads what the volumes of a MiniPod have, and makes them. Where something cannot be read, or is gone, what was made before
// stays. Images are had by whoever asks for them.
func (p *Pool) makeVolumes(ctx context.Context, pod *miniv1.MiniPod, tokens map[volumes.Token]heldToken, images imageSource) made {
	objects, unread := p.read(ctx, pod.Namespace, slices.DeleteFunc(grants.OfVolumes(&pod.Spec), func(r grants.Reference) bool { return !r.Watch }))
	out := made{objects: objects, tokens: maps.Clone(tokens), keep: true, room: volumes.NewRoom()}
	var wanted []volumes.Wanted
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		w, err := p.wantedVolume(pod, v)
		if err != nil {
			out.keep, out.err = false, err
			return out
		}
		if w.Files != nil {
			if w.Files, err = p.filesOf(ctx, pod, v, &out, unread); err != nil {
				out.err = cmp.Or(out.err, fmt.Errorf("%s%q: %w", podplan.VolumeFailure, v.Name, err))
				out.keep = out.keep && p.Volumes.Made(pod.UID, v.Name)
				continue
			}
			w.Dirs = nestedIn(pod, v.Name)
		}
		if w.Image {
			if w.Fill, err = images(ctx, v); err != nil {
				out.err = cmp.Or(out.err, fmt.Errorf("%s%q: %w", podplan.VolumeFailure, v.Name, err))
				out.keep = false
				continue
			}
		}
		wanted = append(wanted, w)
	}
	if err := p.Volumes.Make(ctx, pod.UID, wanted); err != nil {
		out.keep, out.err = false, err
	}
	return out
}

// filesOf are the files of a volume, of what was read and of tokens that are asked for now.
func (p *Pool) filesOf(ctx context.Context, pod *miniv1.MiniPod, v *miniv1.Volume, out *made, unread error) (volumes.Files, error) {
	if unread != nil && len(grants.OfVolume(v)) > 0 {
		return nil, unread
	}
	objects := out.objects
	objects.Tokens = map[volumes.Token]string{}
	for _, token := range volumes.TokensOf(v) {
		held, err := p.token(ctx, types.NamespacedName{Namespace: pod.Namespace, Name: pod.Spec.ServiceAccount()}, token, out)
		if err != nil {
			return nil, err
		}
		objects.Tokens[token] = held.text
	}
	files, err := volumes.FilesOf(v, objects, fileFields{pod, p.Machine.Node}, out.room)
	if err == nil {
		files.SetOwner(userOf(pod), groupOf(pod))
	}
	return files, err
}

// token is one that is at hand and good for long enough, or a new one: what else changes in a volume asks for none.
func (p *Pool) token(ctx context.Context, account types.NamespacedName, token volumes.Token, out *made) (heldToken, error) {
	asked := p.Clock.Now()
	if held, ok := out.tokens[token]; ok && asked.Before(held.renew) {
		return held, nil
	}
	text, good, err := p.Uses.Token(ctx, account, token.Audience, token.Lifetime)
	if apierrors.IsNotFound(err) {
		err = &volumes.Missing{Kind: "serviceaccount", Name: account.Name}
	}
	if err != nil {
		return heldToken{}, err
	}
	// By how long it is good, and not until when: the clocks of nodes differ.
	held := heldToken{text, asked.Add(jitter.Down(good * renewAt / 10))}
	if out.tokens == nil {
		out.tokens = map[volumes.Token]heldToken{}
	}
	out.tokens[token] = held
	return held, nil
}

// startVolumes has the volumes made, as a job.
func (w *worker) startVolumes(desired *miniv1.MiniPod) change {
	return func(o *view) {
		next := podplan.JobRunning
		if o.Jobs[podplan.VolumesTask] != "" {
			next = podplan.JobRenewing
		}
		o.SetJob(podplan.VolumesTask, next)
		o.Gone.Volumes, o.holds = false, o.holds || hasImages(desired)
		w.fieldsUsed = fieldsOf(desired)
		began := w.pool.Clock.Now()
		o.BeginVolumes(began)
		tokens := w.tokens
		w.beside(func() change {
			made := w.pool.makeVolumes(w.pullContext, desired, tokens, w.imagesOf(desired))
			measureVolumes(w.pool.Clock.Since(began), made.err)
			return func(*view) { w.finishVolumes(desired, made) }
		})
	}
}

// finishVolumes notes that volumes were made, or why not.
func (w *worker) finishVolumes(desired *miniv1.MiniPod, made made) {
	o := &w.observed
	state := o.Jobs[podplan.VolumesTask]
	if state != podplan.JobRunning && state != podplan.JobRenewing {
		return
	}
	w.tokens = made.tokens
	switch {
	case made.err == nil:
		delete(o.Failures, podplan.VolumesTask)
		o.SetJob(podplan.VolumesTask, podplan.JobDone)
		o.VolumesUntil = made.renew()
		w.used(grants.OfVolumes(&desired.Spec), made.objects)
		return
	case made.keep || state == podplan.JobRenewing:
		o.SetJob(podplan.VolumesTask, podplan.JobStale)
	default:
		o.SetJob(podplan.VolumesTask, "")
	}
	if errors.Is(made.err, context.Canceled) {
		return
	}
	w.pool.Log.Info("Cannot make volumes; trying again later", "pod", w.uid, "err", wordsOf(made.err))
	o.Failed(desired, podplan.Action{Type: podplan.MakeVolumes}, miniv1.ReasonContainerCreating, wordsOf(made.err), w.pool.Clock.Now())
	w.used(grants.OfVolumes(&desired.Spec), made.objects)
}

// podFields are what files can have of a MiniPod and can change.
type podFields struct{ labels, annotations map[string]string }

// fieldsOf are those of a MiniPod that has them in files; nil for others.
func fieldsOf(pod *miniv1.MiniPod) *podFields {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.DownwardAPI != nil || v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, hasFields) {
			return &podFields{pod.Labels, pod.Annotations}
		}
	}
	return nil
}

func hasFields(s miniv1.VolumeProjection) bool { return s.DownwardAPI != nil }

// outdateFields has files made anew that have labels or annotations which have changed.
func (w *worker) outdateFields(desired *miniv1.MiniPod) {
	if desired == nil || w.fieldsUsed == nil {
		return
	}
	if !maps.Equal(w.fieldsUsed.labels, desired.Labels) || !maps.Equal(w.fieldsUsed.annotations, desired.Annotations) {
		w.observed.Outdate(podplan.VolumesTask)
	}
}

// removeVolumes takes all volumes of the MiniPod away.
func (w *worker) removeVolumes(ctx context.Context) (change, error) {
	if err := w.pool.Volumes.Remove(w.uid); err != nil {
		return nil, err
	}
	if w.observed.holds { // what was mounted is not any more
		if err := w.pool.Runtime.Release(ctx, string(w.uid)); err != nil {
			return nil, fmt.Errorf("images of volumes: %w", err)
		}
	}
	return func(o *view) {
		o.Gone.Volumes, o.holds = true, false
		o.SetJob(podplan.VolumesTask, "")
	}, nil
}
