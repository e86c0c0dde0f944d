package v1alpha1

// ContainerRestartRule says what becomes of a container that ended with certain exit codes.
type ContainerRestartRule struct {
	// action is Restart: the container is started again, whatever its restartPolicy is.
	// +required
	// +kubebuilder:validation:Enum=Restart
	Action ContainerRestartRuleAction `json:"action,omitempty"`

	// exitCodes are those that the rule is for.
	// +required
	ExitCodes ContainerRestartRuleOnExitCodes `json:"exitCodes,omitzero"`
}

// ContainerRestartRuleAction is what a rule has done.
type ContainerRestartRuleAction string

// ContainerRestartRuleActionRestart starts the container again.
const ContainerRestartRuleActionRestart ContainerRestartRuleAction = "Restart"

// ContainerRestartRuleOnExitCodes selects exit codes.
type ContainerRestartRuleOnExitCodes struct {
	// operator is In or NotIn.
	// +required
	// +kubebuilder:validation:Enum=In;NotIn
	Operator ContainerRestartRuleOperator `json:"operator,omitempty"`

	// values are exit codes.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=255
	// +kubebuilder:validation:items:Minimum=0
	// +kubebuilder:validation:items:Maximum=255
	Values []int32 `json:"values,omitempty"`
}

// ContainerRestartRuleOperator is how exit codes are compared with the values of a rule.
type ContainerRestartRuleOperator string

// Operators of rules.
const (
	ContainerRestartRuleIn    ContainerRestartRuleOperator = "In"
	ContainerRestartRuleNotIn ContainerRestartRuleOperator = "NotIn"
)
