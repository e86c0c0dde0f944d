package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
)

// Lifecycle is what happens at the begin and at the end of a container, in core/v1's words.
type Lifecycle struct {
	// postStart runs right after the container was started, beside its own program. Until it has ended well the container has not started:
	// it is not probed, it is not ready, and what comes after it waits. If it fails, the container is ended, and started again by the
	// restartPolicy.
	// +optional
	PostStart *LifecycleHandler `json:"postStart,omitempty"`

	// preStop runs before the container is asked to end: at a deletion, for another image, and after a probe or postStart failed; not when it
	// ends by itself. It has the grace period for it, which begins with it, and after it the container has two seconds at least.
	// +optional
	PreStop *LifecycleHandler `json:"preStop,omitempty"`

	// stopSignal is the signal by which the container is asked to end; that of its image (STOPSIGNAL) when not given, and SIGTERM when the
	// image has none. Unlike in a native Pod, spec.os need not be set for it.
	// +optional
	// +kubebuilder:validation:Enum=SIGABRT;SIGALRM;SIGBUS;SIGCHLD;SIGCLD;SIGCONT;SIGFPE;SIGHUP;SIGILL;SIGINT;SIGIO;SIGIOT;SIGKILL;SIGPIPE;SIGPOLL;SIGPROF;SIGPWR;SIGQUIT;SIGSEGV;SIGSTKFLT;SIGSTOP;SIGSYS;SIGTERM;SIGTRAP;SIGTSTP;SIGTTIN;SIGTTOU;SIGURG;SIGUSR1;SIGUSR2;SIGVTALRM;SIGWINCH;SIGXCPU;SIGXFSZ;SIGRTMIN;"SIGRTMIN+1";"SIGRTMIN+2";"SIGRTMIN+3";"SIGRTMIN+4";"SIGRTMIN+5";"SIGRTMIN+6";"SIGRTMIN+7";"SIGRTMIN+8";"SIGRTMIN+9";"SIGRTMIN+10";"SIGRTMIN+11";"SIGRTMIN+12";"SIGRTMIN+13";"SIGRTMIN+14";"SIGRTMIN+15";"SIGRTMAX-14";"SIGRTMAX-13";"SIGRTMAX-12";"SIGRTMAX-11";"SIGRTMAX-10";"SIGRTMAX-9";"SIGRTMAX-8";"SIGRTMAX-7";"SIGRTMAX-6";"SIGRTMAX-5";"SIGRTMAX-4";"SIGRTMAX-3";"SIGRTMAX-2";"SIGRTMAX-1";SIGRTMAX
	StopSignal *corev1.Signal `json:"stopSignal,omitempty"`
}

// LifecycleHandler is one thing to do. A connection (tcpSocket) is none: native Pods have the field and never did anything with it.
// +kubebuilder:validation:XValidation:rule="[has(self.exec), has(self.httpGet), has(self.sleep)].exists_one(x, x)",message="a hook needs exactly one of exec, httpGet and sleep; tcpSocket does nothing in a native Pod, and is not taken"
type LifecycleHandler struct {
	// exec runs a command in the container; it has ended well with exit code 0.
	// +optional
	Exec *ExecAction `json:"exec,omitempty"`

	// httpGet asks by HTTP; any answer is a good end.
	// +optional
	HTTPGet *HTTPGetAction `json:"httpGet,omitempty"`

	// sleep waits.
	// +optional
	Sleep *SleepAction `json:"sleep,omitempty"`
}

// SleepAction waits for a time.
type SleepAction struct {
	// seconds to wait, terminationGracePeriodSeconds at most.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400
	Seconds int64 `json:"seconds"`
}

// PodOS is what a MiniPod's containers are made for.
type PodOS struct {
	// name of the operating system: linux.
	// +required
	// +kubebuilder:validation:Enum=linux
	Name corev1.OSName `json:"name,omitempty"`
}

// HookKind is when a hook of a container runs.
type HookKind string

// Kinds of hooks.
const (
	HookPostStart HookKind = "postStart"
	HookPreStop   HookKind = "preStop"
)

// Hook is what a container does at some time of its life; nil if nothing.
func (c *Container) Hook(kind HookKind) *LifecycleHandler {
	switch {
	case c.Lifecycle == nil:
		return nil
	case kind == HookPostStart:
		return c.Lifecycle.PostStart
	case kind == HookPreStop:
		return c.Lifecycle.PreStop
	}
	return nil
}
