package nodelife

import "time"

// Life is what both witnesses of a node say at one time.
type Life struct {
	State State
	// Agent and Machine are the two.
	Agent, Machine Health
	// Since is when an absence, or a loss, began to count.
	Since time.Time
	// Next is when the state changes if nothing is heard; zero for never.
	Next time.Time
}

// Word is what the core Node's condition Ready says about the machine. It counts only where the machine has no Lease.
type Word int

const (
	// NoWord is said where there is no such condition, or it is Unknown: nobody has heard from the machine.
	NoWord Word = iota
	// SaysAlive is said where somebody on the machine said True or False, and Kubernetes did not take it back.
	SaysAlive
)

// judge puts the witnesses together.
func judge(agent, machine Health, word Word) Life {
	life := Life{State: agent.State, Agent: agent, Machine: machine, Next: agent.LostAt}
	if agent.State != Lost {
		return life
	}
	if !machine.HasLease && word == SaysAlive {
		life.Machine = Health{State: Alive, LastSeen: agent.LastSeen}
		life.State, life.Since, life.Next = Absent, agent.LostAt, time.Time{}
		return life
	}
	switch machine.State {
	case Alive:
		life.State, life.Since, life.Next = Absent, agent.LostAt, machine.LostAt
	case Unsure:
		life.State, life.Next = Unsure, machine.LostAt
	default:
		life.Since, life.Next = later(agent.LostAt, machine.LostAt), time.Time{}
	}
	return life
}

// LastSeen is when either witness was heard last.
func (l *Life) LastSeen() time.Time { return later(l.Agent.LastSeen, l.Machine.LastSeen) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// SinceBoot is what is known of a node's life when the boot IDs are: the one that its agent told last, and the one that its kubelet
// tells since then. That they differ proves that nothing runs any more that the agent knew of; that they do not is no news.
func (l Life) SinceBoot(agents, kubelets string, then time.Time) Life {
	if l.State == Absent && agents != "" && kubelets != "" && agents != kubelets {
		l.State, l.Since = Restarted, later(l.Since, then)
	}
	return l
}
