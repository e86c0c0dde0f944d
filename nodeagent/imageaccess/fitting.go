package imageaccess

import (
	"cmp"
	"net"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

// Fitting are the credentials that fit an image's name, the most specific first.
//
// The keys of a docker config are hosts with or without a port, scheme and path. A host may have globs per label
// (*.example.com fits a.example.com, not a.b.example.com); a key without a port fits every port; a path fits as a prefix of
// whole elements. For Docker Hub the historic key https://index.docker.io/v1/ and plain docker.io mean the same.
func Fitting(image string, auths []runtime.RegistryAuth) []runtime.RegistryAuth {
	var out []runtime.RegistryAuth
	named, err := reference.ParseNormalizedNamed(image)
	if err == nil {
		for _, auth := range auths {
			if fits(auth.Registry, reference.Domain(named), reference.Path(named)) {
				out = append(out, auth)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b runtime.RegistryAuth) int {
		return cmp.Compare(len(trimKey(b.Registry)), len(trimKey(a.Registry)))
	})
	return out
}

func fits(key, host, imagePath string) bool {
	keyHost, keyPath, _ := strings.Cut(trimKey(key), "/")
	if keyPath != "" && imagePath != keyPath && !strings.HasPrefix(imagePath, keyPath+"/") {
		return false
	}
	if host == "docker.io" && (keyHost == "index.docker.io" || keyHost == "registry-1.docker.io") {
		return true
	}
	keyName, keyPort := splitPort(keyHost)
	name, port := splitPort(host)
	if keyPort != "" && keyPort != port {
		return false
	}
	keyLabels, labels := strings.Split(keyName, "."), strings.Split(name, ".")
	if len(keyLabels) != len(labels) {
		return false
	}
	for i := range labels {
		if ok, err := path.Match(keyLabels[i], labels[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// trimKey takes off what says nothing about which images a key is for: the scheme, and the API version of old keys.
func trimKey(key string) string {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	key = strings.TrimSuffix(key, "/")
	return strings.TrimSuffix(strings.TrimSuffix(key, "/v1"), "/v2")
}

func splitPort(host string) (name, port string) {
	if name, port, err := net.SplitHostPort(host); err == nil {
		return name, port
	}
	return host, ""
}
