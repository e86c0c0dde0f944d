package endpoints

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

const (
	// MaxPerSlice is how many endpoints one slice lists at most.
	MaxPerSlice = 100

	// ManagedBy is the value of the label endpointslice.kubernetes.io/managed-by on the slices that are written here.
	ManagedBy = "endpoints-controller.miniplane.dev"

	// ProxyNameLabel is the native label that names the proxy of an EndpointSlice; kube-proxy skips slices that have it.
	ProxyNameLabel = "service.kubernetes.io/service-proxy-name"

	// maxNamePrefix keeps the name of a slice a valid one.
	maxNamePrefix = 200
)

// Labels are those of every slice of the service of that name.
func Labels(service string) map[string]string {
	return map[string]string{
		miniv1.ServiceNameLabel:    service,
		ProxyNameLabel:             miniv1.ServiceProxyName,
		discoveryv1.LabelManagedBy: ManagedBy,
	}
}

// Plan is what has to be written. The zero value means that all is as it should be.
type Plan struct {
	Create, Update, Delete []*discoveryv1.EndpointSlice
}

// Diff compares the wanted groups with the slices that exist under the service's name. Slices of an earlier service of the
// same name are deleted; slices that somebody else wrote are left alone. Nothing that is passed in is changed.
func Diff(service *miniv1.MiniService, groups []Group, existing []*discoveryv1.EndpointSlice) Plan {
	var plan Plan
	slots := map[string][]*slot{}
	existing = slices.Clone(existing)
	slices.SortFunc(existing, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	for _, slice := range existing {
		switch ours := metav1.IsControlledBy(slice, service); {
		case ours && slice.AddressType == discoveryv1.AddressTypeIPv4:
			ports := portsKey(slice.Ports)
			slots[ports] = append(slots[ports], &slot{slice: slice, exists: true})
		case ours || slice.Labels[discoveryv1.LabelManagedBy] == ManagedBy:
			plan.Delete = append(plan.Delete, slice)
		}
	}
	for _, group := range groups {
		ports := portsKey(group.Ports)
		for _, slot := range place(service, group, slots[ports]) {
			plan.add(slot, Labels(service.Name))
		}
		delete(slots, ports)
	}
	for _, ports := range slices.Sorted(maps.Keys(slots)) {
		for _, slot := range slots[ports] {
			plan.Delete = append(plan.Delete, slot.slice)
		}
	}
	return plan
}

// slot is a slice that exists or is to be created, and the endpoints that it is to list.
type slot struct {
	slice     *discoveryv1.EndpointSlice
	exists    bool
	changed   bool
	endpoints []discoveryv1.Endpoint
}

func (s *slot) room() int { return MaxPerSlice - len(s.endpoints) }

// place spreads the endpoints of a group over its slices: first those that stay, then the new ones.
func place(service *miniv1.MiniService, group Group, slots []*slot) []*slot {
	wanted := map[string]discoveryv1.Endpoint{}
	for _, endpoint := range group.Endpoints {
		wanted[key(endpoint)] = endpoint
	}
	for _, slot := range slots {
		slot.keep(wanted, Labels(service.Name))
	}
	var added []discoveryv1.Endpoint
	for _, endpoint := range group.Endpoints {
		if _, left := wanted[key(endpoint)]; left {
			added = append(added, endpoint)
		}
	}
	for _, slot := range byWelcome(slots, len(added)) {
		n := min(slot.room(), len(added))
		slot.endpoints, added = append(slot.endpoints, added[:n]...), added[n:]
		slot.changed = slot.changed || n > 0
	}
	for number := 0; len(added) > 0; number++ {
		slice := newSlice(service, group.Ports, number)
		if slices.ContainsFunc(slots, func(s *slot) bool { return s.slice.Name == slice.Name }) {
			continue
		}
		n := min(MaxPerSlice, len(added))
		slots = append(slots, &slot{slice: slice, endpoints: added[:n]})
		added = added[n:]
	}
	return slots
}

// keep moves what the slice lists and is still wanted from wanted to the slot.
func (s *slot) keep(wanted map[string]discoveryv1.Endpoint, labels map[string]string) {
	for _, old := range s.slice.Endpoints {
		endpoint, ok := wanted[key(old)]
		if !ok || s.room() == 0 {
			s.changed = true
			continue
		}
		delete(wanted, key(old))
		s.endpoints = append(s.endpoints, endpoint)
		s.changed = s.changed || !equality.Semantic.DeepEqual(old, endpoint)
	}
	for name, value := range labels {
		s.changed = s.changed || s.slice.Labels[name] != value
	}
}

// byWelcome orders slots by how little it costs to put n new endpoints there: those that are written anyway, then the one
// that they fill best, then those with the most room.
func byWelcome(slots []*slot, n int) []*slot {
	rank := func(s *slot) int {
		switch {
		case s.changed && len(s.endpoints) > 0:
			return -2 * MaxPerSlice
		case s.changed:
			return -MaxPerSlice // would be deleted otherwise: one write either way
		case s.room() >= n:
			return s.room()
		default:
			return 3*MaxPerSlice - s.room()
		}
	}
	out := slices.Clone(slots)
	slices.SortStableFunc(out, func(a, b *slot) int { return cmp.Compare(rank(a), rank(b)) })
	return out
}

func (p *Plan) add(s *slot, labels map[string]string) {
	switch {
	case !s.exists:
		s.slice.Endpoints = s.endpoints
		p.Create = append(p.Create, s.slice)
	case len(s.endpoints) == 0:
		p.Delete = append(p.Delete, s.slice)
	case s.changed:
		slice := s.slice.DeepCopy()
		slice.Endpoints = s.endpoints
		if slice.Labels == nil {
			slice.Labels = map[string]string{}
		}
		maps.Copy(slice.Labels, labels)
		p.Update = append(p.Update, slice)
	}
}

func newSlice(service *miniv1.MiniService, ports []discoveryv1.EndpointPort, number int) *discoveryv1.EndpointSlice {
	prefix := service.Name[:min(len(service.Name), maxNamePrefix)]
	owner := metav1.NewControllerRef(service, miniv1.GroupVersion.WithKind("MiniService"))
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       service.Namespace,
			Name:            fmt.Sprintf("%s-%s-%d", prefix, hash(string(service.UID), portsKey(ports)), number),
			Labels:          Labels(service.Name),
			OwnerReferences: []metav1.OwnerReference{*owner},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       ports,
	}
}
