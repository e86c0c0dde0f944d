package main

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"miniplane.dev/miniplane/test/testenv"
)

// A real API server tells its range of Services itself; nodes are made here.
func TestCheckRanges(t *testing.T) {
	_, c := testenv.Start(t)
	var kubernetes corev1.Service
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "kubernetes"}, &kubernetes); err != nil {
		t.Fatal(err)
	}
	services := netip.MustParseAddr(kubernetes.Spec.ClusterIP) // the first address of the range
	if err := checkRanges(t.Context(), c, defaults()); err != nil {
		t.Errorf("the defaults collide with an empty cluster: %v", err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: corev1.NodeSpec{PodCIDR: "10.240.0.0/24", PodCIDRs: []string{"10.240.0.0/24"}}}
	if err := c.Create(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "a"}, {Type: corev1.NodeInternalIP, Address: "192.0.2.7"}}
	if err := c.Status().Update(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ pods, services, want string }{
		"apart":                {"100.64.0.0/11", "100.96.0.0/16", ""},
		"pods in node's range": {"10.240.0.0/12", "100.96.0.0/16", "--pod-cidr 10.240.0.0/12 overlaps the pod range of node a, 10.240.0.0/24"},
		"pods over node":       {"192.0.2.0/24", "100.96.0.0/16", "overlaps the address of node a, 192.0.2.7/32"},
		"services over native": {"100.64.0.0/11", netip.PrefixFrom(services, 28).Masked().String(), "overlaps the cluster's ServiceCIDR kubernetes"},
		"services beside ours": {"100.64.0.0/11", "198.18.0.0/16", ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := defaults()
			o.podCIDR, o.serviceCIDR = netip.MustParsePrefix(tc.pods), netip.MustParsePrefix(tc.services)
			err := checkRanges(t.Context(), c, o)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
	// Where ServiceCIDRs are not served, the Service kubernetes stands for the range.
	found, err := kubernetesService(t.Context(), c)
	if err != nil || len(found) != 1 || found[0].Prefix.Addr() != services {
		t.Errorf("the Service kubernetes: %v, %v", found, err)
	}
}

// The manager does not start, and says so, before it does anything.
func TestManagerWithCollidingRangesDoesNotStart(t *testing.T) {
	config, c := testenv.Start(t)
	var kubernetes corev1.Service
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "kubernetes"}, &kubernetes); err != nil {
		t.Fatal(err)
	}
	useCluster(t, config)
	o := defaults()
	o.serviceCIDR = netip.PrefixFrom(netip.MustParseAddr(kubernetes.Spec.ClusterIP), 28).Masked()
	o.metricsAddress, o.healthAddress = "0", "127.0.0.1:0" // whatever else runs on this machine
	err := run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "overlaps the cluster's ServiceCIDR kubernetes") {
		t.Errorf("error %v", err)
	}
}

// useCluster makes the test's API server the one that programs find.
func useCluster(t *testing.T, config *rest.Config) {
	t.Helper()
	const name = "test"
	kubeconfig := clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: config.Host, CertificateAuthorityData: config.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: {ClientCertificateData: config.CertData, ClientKeyData: config.KeyData}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(kubeconfig, path); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", path)
}
