// Package podworker makes the containers of one node what the MiniPods bound to it say.
//
// Idea. Every MiniPod has one worker. It looks at what is wanted (the MiniPod, or nothing when it is gone) and at what is
// there (an Observation: sandbox, address, containers), asks plan what to do next, does it, and asks again until the plan
// is empty. plan and the status that is reported are pure functions; all that touches the machine is in execute.go.
//
// Rounds. The actions of one plan do not depend on each other and are done side by side; what depends on them comes with
// the next plan. A start is five rounds: sandbox and image look-up, network, files, create, start. A deletion is signal,
// remove containers, network and files, sandbox, finalizer. Each step is proven by the call that did it, so an agent that
// is killed between two steps, and its successor, go on from wherever the machine stands.
//
// Observation. One shared look at the runtime, the sandboxes and the network at the start and once a minute; between them
// each worker keeps its own part up to date from what it did and from the runtime's events, which wake exactly the MiniPod
// concerned. The cost of an event does not depend on how many MiniPods there are.
//
// Memory. What must survive the agent is in the containers' labels (attempt, crashes, spec hash) and in the MiniPod's
// status. Only failures to pull, create or start are remembered by the process alone: a new agent just tries again at once.
//
// Status. It is written by at most one request at a time per MiniPod, again and again until the API server has it, and only
// when it changed. While there is still something to do, nothing is written for two seconds: a start that goes well costs
// one write, the one that says Running.
//
// What makes it hard: an agent may die, and a connection break, between any two lines; a look at the machine may be older
// than what the worker did since (epochs, in worker.go, tell); and the fast path must not wait for anything that it can do
// without.
package podworker
