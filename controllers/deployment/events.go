package deployment

import (
	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// scaling is a set that was scaled in this pass, and why.
type scaling struct {
	set      *miniv1.MiniReplicaSet
	from, to int
	why      string
}

// report tells of each scaling of a set, with native words and the reason behind.
func (r *Reconciler) report(s *scope) {
	for _, c := range s.scalings {
		verb := "up"
		switch {
		case c.to == c.from:
			continue // created without replicas
		case c.to < c.from:
			verb = "down"
		}
		r.events.Eventf(s.deployment, c.set, corev1.EventTypeNormal, "ScalingReplicaSet", "ScaleReplicaSet",
			"Scaled %s MiniReplicaSet %s from %d to %d: %s", verb, c.set.Name, c.from, c.to, c.why)
	}
}
