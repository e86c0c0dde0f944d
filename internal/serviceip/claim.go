package serviceip

import (
	"errors"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/ipam"
)

// claim is one service's turn; the Allocator is locked.
type claim struct {
	*Allocator
	service *miniv1.MiniService
	owner   string
	held    *holding
	grant   Grant
	freed   bool
}

func (c *claim) clusterIP() {
	wish := c.service.Spec.ClusterIP
	if wish == corev1.ClusterIPNone {
		c.setAddress(netip.Addr{})
		c.grant.ClusterIP = corev1.ClusterIPNone
		return
	}
	switch {
	case wish != "":
		address, err := netip.ParseAddr(wish)
		if err == nil {
			err = c.addresses.Reserve(address, c.owner)
		}
		if err == nil {
			c.setAddress(address)
			break
		}
		c.refuse(miniv1.ReasonClusterIPInUse, miniv1.ReasonClusterIPInvalid, "clusterIP "+wish, err)
	case !c.held.address.IsValid():
		c.anyAddress()
	}
	if c.held.address.IsValid() {
		c.grant.ClusterIP = c.held.address.String()
	}
}

// anyAddress gives what the status says, if it is free, or anything.
func (c *claim) anyAddress() {
	address, err := netip.ParseAddr(c.service.Status.ClusterIP)
	if err != nil || c.addresses.Reserve(address, c.owner) != nil {
		if address, err = c.addresses.AllocateRandom(c.owner, c.random); err != nil {
			c.exhausted("no virtual IP is free in %s; delete services that are not needed, or run the manager and the agents with a larger --service-cidr",
				c.addresses.Prefix())
			return
		}
	}
	c.setAddress(address)
}

func (c *claim) setAddress(address netip.Addr) {
	if old := c.held.address; old.IsValid() && old != address {
		c.addresses.Release(old)
		c.freed = true
	}
	c.held.address = address
}

func (c *claim) nodePorts() {
	given := map[PortKey]ipam.Port{}
	if c.service.Spec.Type == corev1.ServiceTypeNodePort {
		c.wishedPorts(given)
		c.otherPorts(given)
	}
	used := portSet(given)
	for _, port := range c.held.ports {
		if !used[port] {
			c.ports.Release(port)
			c.freed = true
		}
	}
	c.held.ports = given
	c.grant.NodePorts = map[PortKey]int32{}
	for key, port := range given {
		c.grant.NodePorts[key] = port.Number
	}
}

// wishedPorts gives the ports that the spec asks for.
func (c *claim) wishedPorts(given map[PortKey]ipam.Port) {
	for _, port := range c.service.Spec.Ports {
		if port.NodePort == 0 {
			continue
		}
		wish := ipam.Port{Protocol: protocol(port.Protocol), Number: port.NodePort}
		if err := c.ports.Reserve(wish, c.owner); err != nil {
			c.refuse(miniv1.ReasonNodePortInUse, miniv1.ReasonNodePortInvalid, "nodePort "+wish.String(), err)
			continue
		}
		given[PortKey{port.Port, wish.Protocol}] = wish
	}
}

// otherPorts gives every port that has none yet what it held, what the status says if it is free, or, unless it waits for
// the one in its spec, any.
func (c *claim) otherPorts(given map[PortKey]ipam.Port) {
	used := portSet(given)
	for _, port := range c.service.Spec.Ports {
		key := PortKey{port.Port, protocol(port.Protocol)}
		if _, has := given[key]; has {
			continue
		}
		nodePort, ok := c.held.ports[key]
		if ok = ok && !used[nodePort]; !ok && port.NodePort == 0 {
			nodePort, ok = c.anyPort(key, used)
		}
		if ok {
			given[key], used[nodePort] = nodePort, true
		}
	}
}

func (c *claim) anyPort(key PortKey, used map[ipam.Port]bool) (ipam.Port, bool) {
	for _, port := range c.service.Status.Ports {
		last := ipam.Port{Protocol: key.Protocol, Number: port.NodePort}
		if port.Port == key.Port && protocol(port.Protocol) == key.Protocol && !used[last] && c.ports.Reserve(last, c.owner) == nil {
			return last, true
		}
	}
	port, err := c.ports.AllocateRandom(key.Protocol, c.owner, c.random)
	if err != nil {
		c.exhausted("no %s node port is free in %s; delete services that are not needed, or run the manager with a larger --node-port-range",
			key.Protocol, c.ports.Range())
	}
	return port, err == nil
}

func portSet(given map[PortKey]ipam.Port) map[ipam.Port]bool {
	out := map[ipam.Port]bool{}
	for _, port := range given {
		out[port] = true
	}
	return out
}

// refuse notes that a wish cannot be granted, because somebody has it or because it is nothing that can be given.
func (c *claim) refuse(inUse, invalid, what string, err error) {
	var conflict *ipam.ConflictError
	var outside *ipam.RangeError
	problem := Problem{Reason: invalid, Message: fmt.Sprintf("%s cannot be used: %v", what, err)}
	switch {
	case errors.As(err, &conflict):
		problem = Problem{Reason: inUse, Message: fmt.Sprintf("%s is in use by %s; it is given to this service when it becomes free", what, conflict.Owner)}
	case errors.As(err, &outside):
		problem.Message = fmt.Sprintf("%s is outside of the range %s", what, outside.Range)
	}
	c.grant.Problems = append(c.grant.Problems, problem)
}

func (c *claim) exhausted(format string, args ...any) {
	c.grant.Problems = append(c.grant.Problems, Problem{Reason: miniv1.ReasonRangeExhausted, Message: fmt.Sprintf(format, args...)})
}
