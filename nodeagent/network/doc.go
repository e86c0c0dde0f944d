// Package network gives MiniPods their addresses and connects them with the node and with each other.
//
// Each MiniPod has a veth pair. Its inner end, eth0, has the address as a /32 and one route: everything by way of
// 169.254.1.1, which stands for the node and needs no ARP because both ends know each other's MAC as a permanent
// neighbour. The outer end has no address; the node finds the MiniPod by a /32 route. There is no bridge: no limit of
// ports, no flooding, and one MiniPod cannot send in another's name, for the outer end drops what would not be routed
// back to it. The other nodes' ranges are routes: plain ones where the peer is on the same link, else through one VXLAN
// device that has nothing to learn, because every node can work out every other's MAC.
//
// What makes it hard is that the agent may be killed between any two system calls. The record of an address, a small file
// under the state directory, is written before anything else exists and removed after everything else is gone, so that
// each half-done state is one that Attach completes and Detach removes. And if the records are lost, the links still say
// whose they are and which address they have: the name is made from the MiniPod's UID, the MAC from the address. Addresses
// are given round-robin, so that one just given back rests before its next use.
//
// Everything that is made can be told from what others made: the names of links, the MAC prefix, the route protocol.
package network
