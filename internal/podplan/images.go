package podplan

import (
	"fmt"
	"slices"
	"time"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// ImageState is how far the search for an image has come.
type ImageState string

// States of an image.
const (
	ImagePresent ImageState = "Present"
	ImageMissing ImageState = "Missing"
	ImagePulling ImageState = "Pulling"
	ImageFailed  ImageState = "Failed"
	// ImageGuarded is one that is present and not for everybody: whether the MiniPod may run it is still to be found out.
	ImageGuarded ImageState = "Guarded"
)

// Image is what is known about the image that a container is to be created from.
type Image struct {
	// Ref is the reference that this speaks of.
	Ref   string
	State ImageState
	// ID of the image, when present.
	ID string
	// Access says who may run a guarded one, in words of who guards it.
	Access string
	// Failures counts the failed tries in a row, FailedAt and Message tell of the last. Unanswered is how often in a row nobody answered since.
	Failures   int
	Unanswered int
	FailedAt   time.Time
	Message    string
	// Progress is how far a pull has come; zero in its first seconds.
	Progress PullProgress
}

// PullProgress is how far a pull has come.
type PullProgress struct {
	// For is how long it was waited for.
	For time.Duration
	// HasTurn says that it does not wait for other pulls of the node.
	HasTurn bool
	// Bytes came of Size, as far as that is known yet.
	Bytes, Size int64
}

// pulling says in words that an image is being pulled, and how far that has come.
func (i Image) pulling() string {
	p, since := i.Progress, i.Progress.For.Round(time.Second)
	switch {
	case p.For == 0:
		return fmt.Sprintf("pulling image %q", i.Ref)
	case !p.HasTurn:
		return fmt.Sprintf("pulling image %q: it waits for its turn behind other pulls of the node, since %s", i.Ref, since)
	case p.Size == 0:
		return fmt.Sprintf("pulling image %q: the registry has not told its layers yet, after %s", i.Ref, since)
	case p.Bytes >= p.Size:
		return fmt.Sprintf("pulling image %q: all of %s came, and is being unpacked, after %s", i.Ref, mebibytes(p.Size), since)
	}
	return fmt.Sprintf("pulling image %q: %s of %s came in %s", i.Ref, mebibytes(p.Bytes), mebibytes(p.Size), since)
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// Failed is the image after a try to get it failed, in the words of who tried. That somebody did not answer is not counted.
func (i Image) Failed(words string, unanswered bool, now time.Time) Image {
	i.State, i.FailedAt, i.Message = ImageFailed, now, words
	if unanswered {
		i.Unanswered++
	} else {
		i.Failures, i.Unanswered = i.Failures+1, 0
	}
	return i
}

// ImageOf is what is known about the image that the container needs now.
func (o *Observation) ImageOf(c *miniv1.Container) Image {
	if image := o.Images[c.Name]; image.Ref == c.Image {
		return image
	}
	return Image{Ref: c.Image}
}

// Pulling tells whether the end of a pull of this reference, for the container of this name, is waited for.
func (o *Observation) Pulling(container, ref string) bool {
	image, wanted := o.Images[container]
	return wanted && image.Ref == ref && image.State == ImagePulling
}

// Has tells whether the MiniPod has a container of an image: then it may have others of it, too.
func (o *Observation) Has(ref, imageID string) bool {
	return slices.ContainsFunc(o.Containers, func(c Container) bool { return c.Image == ref && c.ImageID == imageID })
}

// PullPolicy applies the default: what is tagged :latest, or not tagged, may change under its name.
func PullPolicy(c *miniv1.Container) corev1.PullPolicy {
	if c.ImagePullPolicy != "" {
		return c.ImagePullPolicy
	}
	named, err := reference.ParseDockerRef(c.Image)
	if err != nil {
		return corev1.PullIfNotPresent
	}
	if _, digested := named.(reference.Digested); digested {
		return corev1.PullIfNotPresent
	}
	if tagged, ok := named.(reference.Tagged); ok && tagged.Tag() != "latest" {
		return corev1.PullIfNotPresent
	}
	return corev1.PullAlways
}

func validImage(image string) bool {
	_, err := reference.ParseDockerRef(image)
	return err == nil
}
