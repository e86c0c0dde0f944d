// Package podworker makes the containers of one node what the MiniPods bound to it say.
//
// Idea. Every MiniPod has one worker. It looks at what is wanted (the MiniPod, or nothing when it is gone) and at what is
// there (a view: sandbox, address, containers), asks package podplan what to do next, does it, and asks again until the plan
// is empty. What is decided, and what is said in the status, is all in podplan; here it is done: execute.go touches the machine,
// watch.go looks at it, publisher.go writes.
//
// Observation. One shared look at the runtime, the sandboxes and the network at the start and once a minute; between them
// each worker keeps its own part up to date from what it did and from the runtime's events, which wake exactly the MiniPod
// concerned. The cost of an event does not depend on how many MiniPods there are.
//
// Memory. What must survive the agent is in the containers' labels (attempt, crashes, spec hash), in the records of how containers
// are ended (ends.go), and in the MiniPod's status. Only failures to pull, create or start are remembered by the process alone: a
// new agent just tries again at once.
//
// Status. It is written by at most one request at a time per MiniPod, again and again until the API server has it, and only
// when it changed. While there is still something to do, nothing is written for some seconds: a start that goes well costs
// one write, the one that says Running.
//
// What makes it hard: an agent may die, and a connection break, between any two lines; a look at the machine may be older
// than what the worker did since (epochs, in worker.go, tell); and the fast path must not wait for anything that it can do
// without.
package podworker
