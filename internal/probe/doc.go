// Package probe decides what follows from asking a container how it is: when it is asked next, and what is believed.
//
// Idea. A probe is a series of runs, each of which ends in a Result. Thresholds turn a series into a verdict, and the verdicts of a
// container's probes into Facts: whether it has started, whether it can serve, and whether it has to be ended. Kubernetes' meanings hold:
// the startupProbe comes first and alone, a readinessProbe begins with no and a livenessProbe with yes, and a verdict changes after so
// many results alike in a row.
//
// Times. A run that counts follows another after the period, counted from its beginning; runs of one probe never overlap, and what was
// missed is not made up for: an agent that stood still for a minute asks once. While a container has not started, or is not ready, it
// is asked also in between, after 50 ms and then twice as long each time, so that who is ready is known to be. Of such a run only a
// success counts: patience is measured in periods, as people wrote it.
//
// Unknown. A run can fail for reasons that are not the container's: the runtime does not answer, the agent stood still past the deadline.
// That is no result at all. It neither counts nor interrupts a series.
//
// Nothing here asks anybody, or has a clock; package prober of the agent does.
package probe
