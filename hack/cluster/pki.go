package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Files of the PKI directory.
const (
	caCertFile   = "ca.crt"
	caKeyFile    = "ca.key"
	apiCertFile  = "apiserver.crt"
	apiKeyFile   = "apiserver.key"
	saKeyFile    = "service-account.key"
	saPublicFile = "service-account.pub"
	// With these the API server calls kubelets.
	kubeletClientCert = "apiserver-kubelet-client.crt"
	kubeletClientKey  = "apiserver-kubelet-client.key"
)

// identity is a user of the API server. The manager and the agents have the names that config/rbac gives rights to, so
// that the local cluster shows it when a right is missing there.
type identity struct {
	name   string // of the kubeconfig file
	user   string
	groups []string
}

var (
	adminIdentity = identity{"admin", "admin", []string{"system:masters"}}
	kcmIdentity   = identity{"kube-controller-manager", "system:kube-controller-manager", nil}
	// Of a full cluster; Kubernetes itself has the rights for these names.
	schedulerIdentity = identity{"kube-scheduler", "system:kube-scheduler", nil}
	proxyIdentity     = identity{"kube-proxy", "system:kube-proxy", nil}
	// The name a ServiceAccount's token would give.
	managerIdentity = identity{"manager", "system:serviceaccount:miniplane-system:miniplane-manager", nil}
)

func agentIdentity(node string) identity {
	return identity{"agent-" + node, "system:miniplane:node:" + node, []string{"system:miniplane:nodes"}}
}

func kubeletIdentity(node string) identity {
	return identity{"kubelet-" + node, "system:node:" + node, []string{"system:nodes"}}
}

// kubeconfigFile of an identity.
func (l Layout) kubeconfigFile(id identity) string {
	return filepath.Join(l.PKIDir(), id.name+".kubeconfig")
}

// ensurePKI makes what the cluster needs once; the directory appears whole or not at all. It renews nothing: the
// certificates outlive any local cluster.
func ensurePKI(l Layout, now time.Time) error {
	dir := l.PKIDir()
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	files, err := renderPKI(l, now)
	if err != nil {
		return err
	}
	tmp := dir + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(tmp, name), content, 0o600); err != nil {
			return err
		}
	}
	return os.Rename(tmp, dir)
}

// ensureKubeconfig makes the kubeconfig of an identity, signed by the cluster's authority, once.
func ensureKubeconfig(l Layout, id identity, now time.Time) error {
	path := l.kubeconfigFile(id)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	cert, err := os.ReadFile(filepath.Join(l.PKIDir(), caCertFile))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(l.PKIDir(), caKeyFile))
	if err != nil {
		return err
	}
	ca, err := loadAuthority(keyPair{Cert: cert, Key: key})
	if err != nil {
		return err
	}
	content, err := renderKubeconfig(l.APIServer(), ca, id, now)
	if err != nil {
		return err
	}
	return writeWhole(path, content, 0o600)
}

// renderPKI makes the content of the directory, by file name.
func renderPKI(l Layout, now time.Time) (map[string][]byte, error) {
	ca, err := newAuthority("miniplane local cluster", now)
	if err != nil {
		return nil, err
	}
	caKey, err := encodeKey(ca.key)
	if err != nil {
		return nil, err
	}
	firstService := netip.MustParsePrefix(nativeServiceRange).Addr().Next()
	serving, err := ca.server(
		[]net.IP{l.ControlPlaneIP().AsSlice(), net.IPv4(127, 0, 0, 1), firstService.AsSlice()},
		[]string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}, now)
	if err != nil {
		return nil, err
	}
	saKey, saPublic, err := serviceAccountKeys()
	if err != nil {
		return nil, err
	}
	toKubelet, err := ca.client("kube-apiserver-kubelet-client", []string{"system:masters"}, now)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{
		kubeletClientCert: toKubelet.Cert, kubeletClientKey: toKubelet.Key,
		caCertFile: ca.certPEM(), caKeyFile: caKey,
		apiCertFile: serving.Cert, apiKeyFile: serving.Key,
		saKeyFile: saKey, saPublicFile: saPublic,
	}
	for _, id := range []identity{adminIdentity, kcmIdentity, managerIdentity, schedulerIdentity, proxyIdentity} {
		if files[id.name+".kubeconfig"], err = renderKubeconfig(l.APIServer(), ca, id, now); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func serviceAccountKeys() (private, public []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, nil, err
	}
	private, err = encodeKey(key)
	return private, encode("PUBLIC KEY", der), err
}

func renderKubeconfig(server string, ca *authority, id identity, now time.Time) ([]byte, error) {
	pair, err := ca.client(id.user, id.groups, now)
	if err != nil {
		return nil, err
	}
	const name = "miniplane-local"
	return clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: server, CertificateAuthorityData: ca.certPEM()}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{id.name: {ClientCertificateData: pair.Cert, ClientKeyData: pair.Key}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: id.name}},
		CurrentContext: name,
	})
}

// writeWhole replaces a file in one step.
func writeWhole(path string, content []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, content, mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
