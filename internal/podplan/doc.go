// Package podplan decides what becomes of one MiniPod on its node: what to do next, and what to say of it.
//
// Idea. Plan compares what is wanted (the MiniPod, or nothing when it is gone) with what is there (an Observation: sandbox, address,
// containers, and what was tried) and answers with actions. Whoever does them notes in the observation what they changed, and asks
// again until the plan is empty. Status makes from the same two values what the API server should say. Nothing here has a client, a
// clock or a process: values come in, values go out, so that every life and every crash of an agent can be played through in a test.
//
// Rounds. The actions of one plan do not depend on each other and are done side by side; what depends on them comes with the next
// plan. A start is five rounds: sandbox and image look-up, network, files, create, start. A deletion is signal, remove containers,
// network and files, sandbox, finalizer. Each step is proven by the call that did it, so an agent that is killed between two steps,
// and its successor, go on from wherever the machine stands.
//
// Stages. The containers of a spec start in a row: init containers and sidecars one after the other, then all main ones together.
// The stage of a MiniPod is how much of that row may run now. It rises while the MiniPod starts and falls, over the same row, while
// it ends; see stage.go. Plans start only what the stage lets run, and end only what it does not.
//
// Memory. What must survive the agent is a part of what is observed (attempt, crashes and spec hash of a container, the signals that
// were sent) or in the MiniPod's status. Only failures are remembered by the process alone: a new agent just tries again at once.
//
// What makes it hard: whoever should know of a container may not answer, and then its process may be there or not; a clock may be
// set while a grace period or a back-off runs; and a start that goes well must not cost a round more than it needs.
package podplan
