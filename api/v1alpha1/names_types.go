package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
)

// PodNames are how a MiniPod is called, and whom it asks for the names of others. The fields are core/v1's.
type PodNames struct {
	// hostname of the MiniPod; its name, up to 63 characters, when not given.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$`
	Hostname string `json:"hostname,omitempty"`

	// subdomain is the domain that the host name is in: hostname.subdomain.namespace.svc.domain, with the domain of the cluster. None when
	// not given.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$`
	Subdomain string `json:"subdomain,omitempty"`

	// setHostnameAsFQDN makes the host name that programs are told by the kernel the whole one, with its domain, where there is a subdomain. It
	// has 64 characters at most: with more, the MiniPod is not started.
	// +optional
	SetHostnameAsFQDN *bool `json:"setHostnameAsFQDN,omitempty"`

	// hostAliases are lines that are added to the containers' /etc/hosts.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	HostAliases []HostAlias `json:"hostAliases,omitempty"`

	// dnsPolicy is what the containers' /etc/resolv.conf begins with: the cluster's servers and domains for ClusterFirst, as far as the agent
	// was told of them, and the node's file else; the node's for Default; nothing for None, where dnsConfig must name a server.
	// ClusterFirstWithHostNet is ClusterFirst also in the node's network.
	// +optional
	// +kubebuilder:validation:Enum=ClusterFirst;ClusterFirstWithHostNet;Default;None;""
	DNSPolicy corev1.DNSPolicy `json:"dnsPolicy,omitempty"`

	// dnsConfig is added to what dnsPolicy says.
	// +optional
	DNSConfig *PodDNSConfig `json:"dnsConfig,omitempty"`
}

// HostAlias is a line of /etc/hosts.
type HostAlias struct {
	// ip is the address.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=45
	IP string `json:"ip"`

	// hostnames are its names.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	Hostnames []string `json:"hostnames,omitempty"`
}

// PodDNSConfig is what is added to a resolver's configuration.
type PodDNSConfig struct {
	// nameservers are addresses of servers, after those of dnsPolicy; the first three of all are used.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=3
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=45
	Nameservers []string `json:"nameservers,omitempty"`

	// searches are domains in which names are looked for, after those of dnsPolicy; together they have at most 2048 characters.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=254
	// +kubebuilder:validation:items:Pattern=`^([.]|[a-z0-9_]([-a-z0-9_]*[a-z0-9])?([.][a-z0-9_]([-a-z0-9_]*[a-z0-9])?)*[.]?)$`
	Searches []string `json:"searches,omitempty"`

	// options of the resolver; one of dnsPolicy with the same name is replaced.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Options []PodDNSConfigOption `json:"options,omitempty"`
}

// PodDNSConfigOption is an option of a resolver, as resolv.conf(5) has them.
type PodDNSConfigOption struct {
	// name of the option, as in "ndots".
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^\S+$`
	Name string `json:"name"`

	// value of the option, where it has one.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^\S*$`
	Value *string `json:"value,omitempty"`
}

// speak tells whether an agent that knows only hostname would do something else.
func (n *PodNames) speak() bool {
	return n.Subdomain != "" || n.SetHostnameAsFQDN != nil && *n.SetHostnameAsFQDN || len(n.HostAliases) > 0 || n.DNSConfig != nil ||
		n.DNSPolicy == corev1.DNSNone || n.DNSPolicy == corev1.DNSClusterFirstWithHostNet
}
