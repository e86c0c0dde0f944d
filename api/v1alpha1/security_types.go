package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
)

// PodSecurityContext is as whom, and with which rights, all containers of a MiniPod run. A container's own securityContext
// goes before it. The fields are core/v1's.
type PodSecurityContext struct {
	// runAsUser is the user ID that the containers run as; the image's user when not given.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	RunAsUser *int64 `json:"runAsUser,omitempty"`

	// runAsGroup is the primary group ID of the containers' processes. When not given it is that of the user in the image's
	// /etc/passwd, and 0 for a user that is not there.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	RunAsGroup *int64 `json:"runAsGroup,omitempty"`

	// runAsNonRoot says that no container may run as user 0. One that would is not started.
	// +optional
	RunAsNonRoot *bool `json:"runAsNonRoot,omitempty"`

	// supplementalGroups are more group IDs of the containers' processes.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:Minimum=0
	// +kubebuilder:validation:items:Maximum=2147483647
	SupplementalGroups []int64 `json:"supplementalGroups,omitempty"`

	// supplementalGroupsPolicy says whether the groups of the user in the image's /etc/group are added: Merge (the default),
	// or Strict, which leaves them out.
	// +optional
	// +kubebuilder:validation:Enum=Merge;Strict
	SupplementalGroupsPolicy *corev1.SupplementalGroupsPolicy `json:"supplementalGroupsPolicy,omitempty"`

	// fsGroup is one more group ID of the containers' processes, and the group of the MiniPod's volumes: what is made in an emptyDir belongs to
	// it, and it may read the files of ConfigMaps, Secrets and fields.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	FSGroup *int64 `json:"fsGroup,omitempty"`

	// fsGroupChangePolicy is Always or OnRootMismatch. It says nothing about the volumes that MiniPods have, which begin as those of the group,
	// as in a native Pod.
	// +optional
	// +kubebuilder:validation:Enum=Always;OnRootMismatch
	FSGroupChangePolicy *corev1.PodFSGroupChangePolicy `json:"fsGroupChangePolicy,omitempty"`

	// seccompProfile filters the containers' system calls.
	// +optional
	SeccompProfile *SeccompProfile `json:"seccompProfile,omitempty"`
}

// SecurityContext is as whom, and with which rights, one container runs. The fields are core/v1's.
// +kubebuilder:validation:XValidation:rule="!(has(self.privileged) && self.privileged && has(self.allowPrivilegeEscalation) && !self.allowPrivilegeEscalation)",message="cannot set allowPrivilegeEscalation to false and privileged to true"
type SecurityContext struct {
	// capabilities to add to, and drop from, those that every container has.
	// +optional
	Capabilities *Capabilities `json:"capabilities,omitempty"`

	// privileged gives the container all capabilities and devices of the machine, and no filter of system calls: it is root on
	// the node.
	// +optional
	Privileged *bool `json:"privileged,omitempty"`

	// runAsUser is the user ID that the container runs as; the MiniPod's when not given.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	RunAsUser *int64 `json:"runAsUser,omitempty"`

	// runAsGroup is the primary group ID of the container's processes; the MiniPod's when not given.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	RunAsGroup *int64 `json:"runAsGroup,omitempty"`

	// runAsNonRoot says that the container may not run as user 0; the MiniPod's when not given.
	// +optional
	RunAsNonRoot *bool `json:"runAsNonRoot,omitempty"`

	// readOnlyRootFilesystem makes the container's file system read-only.
	// +optional
	ReadOnlyRootFilesystem *bool `json:"readOnlyRootFilesystem,omitempty"`

	// allowPrivilegeEscalation says whether a process may gain more rights than its parent, as by a setuid program; true when
	// not given.
	// +optional
	AllowPrivilegeEscalation *bool `json:"allowPrivilegeEscalation,omitempty"`

	// seccompProfile filters the container's system calls; the MiniPod's when not given.
	// +optional
	SeccompProfile *SeccompProfile `json:"seccompProfile,omitempty"`
}

// Capabilities are changes to the capabilities that every container has. ALL stands for all of them and is taken first.
type Capabilities struct {
	// add lists capabilities that the container gets.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Add []Capability `json:"add,omitempty"`

	// drop lists capabilities that are taken from the container.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Drop []Capability `json:"drop,omitempty"`
}

// Capability is a capability's name as in capabilities(7), without CAP_, in whatever case; or ALL.
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:Pattern=`^(?i)(ALL|AUDIT_CONTROL|AUDIT_READ|AUDIT_WRITE|BLOCK_SUSPEND|BPF|CHECKPOINT_RESTORE|CHOWN|DAC_OVERRIDE|DAC_READ_SEARCH|FOWNER|FSETID|IPC_LOCK|IPC_OWNER|KILL|LEASE|LINUX_IMMUTABLE|MAC_ADMIN|MAC_OVERRIDE|MKNOD|NET_ADMIN|NET_BIND_SERVICE|NET_BROADCAST|NET_RAW|PERFMON|SETFCAP|SETGID|SETPCAP|SETUID|SYSLOG|SYS_ADMIN|SYS_BOOT|SYS_CHROOT|SYS_MODULE|SYS_NICE|SYS_PACCT|SYS_PTRACE|SYS_RAWIO|SYS_RESOURCE|SYS_TIME|SYS_TTY_CONFIG|WAKE_ALARM)$`
type Capability string

// SeccompProfile is a filter of system calls.
type SeccompProfile struct {
	// type is RuntimeDefault, the filter that containers also have when nothing is said, or Unconfined, none.
	// +required
	// +kubebuilder:validation:Enum=RuntimeDefault;Unconfined
	Type corev1.SeccompProfileType `json:"type,omitempty"`
}
