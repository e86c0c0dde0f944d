package podplan

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// ground makes what containers stand on: sandbox, network, files. It tells whether all is there. A sandbox whose containers
// have all ended for good is not repaired.
func (p *planner) ground(starting bool) bool {
	o := p.observed
	if !starting && !p.anyRunning() {
		return true
	}
	var missing ActionType
	switch {
	case o.Sandbox != SandboxWhole:
		missing = EnsureSandbox
	case !o.Address.IsValid():
		missing = AttachNetwork
	case starting && o.FilesFor != o.Address:
		missing = WriteFiles
	default:
		return true
	}
	if failure, failed := o.Failures[groundTask]; failed && failure.retryAt(false).After(p.now) {
		p.waitUntil(failure.retryAt(false))
		return false
	}
	p.add(Action{Type: missing})
	return false
}

// grounded tells whether all is there that containers stand on.
func (o *Observation) grounded() bool {
	return o.Sandbox == SandboxWhole && o.Address.IsValid() && o.FilesFor == o.Address
}

func (p *planner) anyRunning() bool {
	return slices.ContainsFunc(p.observed.Containers, Container.MayRun)
}

// bringUp takes one container one step further.
func (p *planner) bringUp(n next) {
	if n.created != "" {
		p.add(Action{Type: StartContainer, Container: n.spec.Name, ID: n.created, Attempt: n.attempt})
		return
	}
	if image, environment := p.image(n.spec), p.environment(n.spec); image && environment {
		p.add(Action{Type: CreateContainer, Container: n.spec.Name, Attempt: n.attempt, Crashes: n.crashes})
	}
}

// images looks for the images and variables of containers that cannot be created yet, so that they are there when they can.
func (p *planner) images(wanted []next) {
	for _, n := range wanted {
		if n.created == "" {
			p.image(n.spec)
			p.environment(n.spec)
		}
	}
}

// image takes the search for an image one step further and tells whether it is at its end.
func (p *planner) image(c *miniv1.Container) bool {
	image := p.observed.ImageOf(c)
	policy := PullPolicy(c)
	switch {
	case !validImage(c.Image):
	case image.State == ImagePresent:
		return true
	case image.State == ImagePulling:
	case image.State == ImageFailed && image.retryAt().After(p.now):
		p.waitUntil(image.retryAt())
		p.waitUntil(image.FailedAt.Add(errImagePullFor))
	case image.State == ImageGuarded:
		p.add(Action{Type: PullImage, Container: c.Name}) // which asks the registry only if it must, and if it may
	case policy == corev1.PullNever, policy == corev1.PullIfNotPresent && image.State != ImageMissing:
		p.add(Action{Type: LookupImage, Container: c.Name})
	default:
		p.add(Action{Type: PullImage, Container: c.Name})
	}
	return false
}
