package runtime

import "time"

// Command is one to run in a container, as whom and with what the container's own program runs.
type Command struct {
	// Args are the program and its arguments.
	Args []string
	// Timeout is how long it may run, from its start. Then it is killed. 0: as long as it likes, until the context ends.
	Timeout time.Duration
	// MaxOutput is how many bytes of its output are kept, of both streams together. The rest is read and thrown away.
	MaxOutput int
}

// Executed is how a command ended.
type Executed struct {
	ExitCode int
	Output   []byte
	// TimedOut: it was killed because its time was over. Then there is no exit code.
	TimedOut bool
	// Ran is how long it ran until it ended, or until somebody noticed that its time was over.
	Ran time.Duration
}
