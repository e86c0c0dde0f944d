// Package prober asks containers how they are, as livenessProbe, readinessProbe and startupProbe say.
//
// Idea. A Watch has the probes of one container. What follows from their results, and when the next is due, package probe decides; here
// are the timers, and those who ask: http.go, tcp.go, grpc.go and exec.go, each of which gives a result and words; how a container is asked at
// all, and how little it is trusted, is package ask's. A Watch reports only
// what changed. A probe costs a timer while it waits and a goroutine while it asks; a container without probes has no Watch.
//
// Whose fault. What a container does not answer is its failure. What this process could not ask or hear is none: an exec that the runtime
// did not start, a dial for which this machine has no port or memory, a deadline at which this process did not run. Such a run is
// Unknown, and nothing follows from it, so that an agent that stood still, or a machine that has too much to do, ends no container.
//
// Strangers. Whoever answers may be hostile: what package ask reads of it is read up to the probe's timeout; commands are killed at their
// timeout and take turns.
package prober
