// Package prober asks containers how they are, as livenessProbe, readinessProbe and startupProbe say.
//
// Idea. A Watch has the probes of one container. What follows from their results, and when the next is due, package probe decides; here
// are the timers, and those who ask: http.go, tcp.go, grpc.go and exec.go, each of which gives a result and words. A Watch reports only
// what changed. A probe costs a timer while it waits and a goroutine while it asks; a container without probes has no Watch.
//
// Whose fault. What a container does not answer is its failure. What this process could not ask or hear is none: an exec that the runtime
// did not start, a dial for which this machine has no port or memory, a deadline at which this process did not run. Such a run is
// Unknown, and nothing follows from it, so that an agent that stood still, or a machine that has too much to do, ends no container.
//
// Strangers. Whoever answers may be hostile: an answer is read up to 10 kB, its headers up to 64 kB, both up to the probe's timeout;
// redirects are followed within one host, ten times; commands are killed at their timeout and take turns.
package prober
