package volumes

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// someFields says what it was asked for.
type someFields struct{}

func (someFields) Field(path string) string { return "field " + path }

func (someFields) Amount(ref *miniv1.ResourceFieldSelector) (string, error) {
	if ref.ContainerName == "" {
		return "", errors.New("no container")
	}
	return ref.ContainerName + " " + ref.Resource, nil
}

func someObjects() Objects {
	return Objects{
		Tokens: map[Token]string{{Lifetime: time.Hour}: "t", {Audience: "vault", Lifetime: 10 * time.Minute}: "v"},
		ConfigMaps: map[string]*corev1.ConfigMap{"settings": {
			ObjectMeta: metav1.ObjectMeta{Name: "settings", ResourceVersion: "7"},
			Data:       map[string]string{"a": "1", "b": "2"}, BinaryData: map[string][]byte{"c": {0, 255}},
		}},
		Secrets: map[string]*corev1.Secret{"login": {
			ObjectMeta: metav1.ObjectMeta{Name: "login", ResourceVersion: "8"}, Data: map[string][]byte{"password": []byte("x")},
		}},
	}
}

func TestFilesOf(t *testing.T) {
	file := func(text string, mode uint32) File { return File{Data: []byte(text), Mode: mode} }
	configMap := func(c miniv1.ConfigMapVolumeSource) miniv1.Volume { return miniv1.Volume{ConfigMap: &c} }
	secret := func(s miniv1.SecretVolumeSource) miniv1.Volume { return miniv1.Volume{Secret: &s} }
	fields := func(items ...miniv1.DownwardAPIVolumeFile) miniv1.Volume {
		return miniv1.Volume{DownwardAPI: &miniv1.DownwardAPIVolumeSource{Items: items}}
	}
	projected := func(sources ...miniv1.VolumeProjection) miniv1.Volume {
		return miniv1.Volume{Projected: &miniv1.ProjectedVolumeSource{Sources: sources, DefaultMode: new(int32(0o440))}}
	}
	for name, c := range map[string]struct {
		volume miniv1.Volume
		want   Files
		err    string
	}{
		"all keys, binary ones too": {volume: configMap(miniv1.ConfigMapVolumeSource{Name: "settings"}),
			want: Files{"a": file("1", 0o644), "b": file("2", 0o644), "c": file("\x00\xff", 0o644)}},
		"items, in directories, with modes": {volume: configMap(miniv1.ConfigMapVolumeSource{Name: "settings", DefaultMode: new(int32(0o600)),
			Items: []miniv1.KeyToPath{{Key: "a", Path: "etc/a.conf"}, {Key: "a", Path: "etc/twice", Mode: new(int32(0o400))}}}),
			want: Files{"etc/a.conf": file("1", 0o600), "etc/twice": file("1", 0o400)}},
		"no ConfigMap": {volume: configMap(miniv1.ConfigMapVolumeSource{Name: "other"}), err: `configmap "other" not found`},
		"no key": {volume: configMap(miniv1.ConfigMapVolumeSource{Name: "settings", Items: []miniv1.KeyToPath{{Key: "z", Path: "z"}}}),
			err: `configmap "settings" has no key "z"`},
		"no ConfigMap, which is optional": {volume: configMap(miniv1.ConfigMapVolumeSource{Name: "other", Optional: new(true)}), want: Files{}},
		"no key, which is optional": {volume: configMap(miniv1.ConfigMapVolumeSource{Name: "settings", Optional: new(true),
			Items: []miniv1.KeyToPath{{Key: "z", Path: "z"}, {Key: "b", Path: "b"}}}), want: Files{"b": file("2", 0o644)}},
		"Secret":        {volume: secret(miniv1.SecretVolumeSource{SecretName: "login"}), want: Files{"password": file("x", 0o644)}},
		"no Secret":     {volume: secret(miniv1.SecretVolumeSource{SecretName: "other"}), err: `secret "other" not found`},
		"optional one":  {volume: secret(miniv1.SecretVolumeSource{SecretName: "other", Optional: new(true)}), want: Files{}},
		"out of it":     {volume: secret(miniv1.SecretVolumeSource{SecretName: "login", Items: []miniv1.KeyToPath{{Key: "password", Path: "../x"}}}), err: `must be relative`},
		"the agent's":   {volume: secret(miniv1.SecretVolumeSource{SecretName: "login", Items: []miniv1.KeyToPath{{Key: "password", Path: "..data"}}}), err: `must not begin with ".."`},
		"both of them":  {volume: configMap(miniv1.ConfigMapVolumeSource{Name: "settings", Items: []miniv1.KeyToPath{{Key: "a", Path: "x"}, {Key: "b", Path: "x/y"}}}), err: "both a file and a directory"},
		"fields":        {volume: fields(miniv1.DownwardAPIVolumeFile{Path: "name", FieldRef: &miniv1.FileFieldSelector{FieldPath: "metadata.name"}}), want: Files{"name": file("field metadata.name", 0o644)}},
		"amounts":       {volume: fields(miniv1.DownwardAPIVolumeFile{Path: "cpu", ResourceFieldRef: &miniv1.ResourceFieldSelector{ContainerName: "main", Resource: "limits.cpu"}}), want: Files{"cpu": file("main limits.cpu", 0o644)}},
		"amount of who": {volume: fields(miniv1.DownwardAPIVolumeFile{Path: "cpu", ResourceFieldRef: &miniv1.ResourceFieldSelector{Resource: "limits.cpu"}}), err: "no container"},
		"field of what": {volume: fields(miniv1.DownwardAPIVolumeFile{Path: "cpu"}), err: "neither a field nor an amount"},
		"several sources, of which the later counts": {volume: projected(
			miniv1.VolumeProjection{ConfigMap: &miniv1.ConfigMapProjection{Name: "settings"}},
			miniv1.VolumeProjection{Secret: &miniv1.SecretProjection{Name: "login", Items: []miniv1.KeyToPath{{Key: "password", Path: "b", Mode: new(int32(0o400))}}}},
			miniv1.VolumeProjection{DownwardAPI: &miniv1.DownwardAPIProjection{Items: []miniv1.DownwardAPIVolumeFile{
				{Path: "d", FieldRef: &miniv1.FileFieldSelector{FieldPath: "metadata.uid"}}}}},
		), want: Files{"a": file("1", 0o440), "b": file("x", 0o400), "c": file("\x00\xff", 0o440), "d": file("field metadata.uid", 0o440)}},
		"a source that is missing": {volume: projected(miniv1.VolumeProjection{Secret: &miniv1.SecretProjection{Name: "other"}}), err: `secret "other" not found`},
		"a token": {volume: projected(miniv1.VolumeProjection{ServiceAccountToken: &miniv1.ServiceAccountTokenProjection{Path: "token"}},
			miniv1.VolumeProjection{ServiceAccountToken: &miniv1.ServiceAccountTokenProjection{Path: "for/vault", Audience: "vault", ExpirationSeconds: new(int64(600))}}),
			want: Files{"token": {Data: []byte("t"), Mode: 0o440, token: true}, "for/vault": {Data: []byte("v"), Mode: 0o440, token: true}}},
		"no token":            {volume: projected(miniv1.VolumeProjection{ServiceAccountToken: &miniv1.ServiceAccountTokenProjection{Path: "token", Audience: "other"}}), err: "no token"},
		"a source of nothing": {volume: projected(miniv1.VolumeProjection{}), err: "none of configMap"},
	} {
		got, err := FilesOf(&c.volume, someObjects(), someFields{}, NewRoom())
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, want %q", name, err, c.err)
			}
			continue
		}
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(File{})); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

// Who can read a file is as in a native Pod: the group all, the one user of all containers, if there is one, the tokens.
func TestSetOwner(t *testing.T) {
	user, group := uint32(1000), uint32(2000)
	for name, c := range map[string]struct {
		user, group *uint32
		plain, own  File
	}{
		"nobody": {nil, nil, File{Mode: 0o400}, File{Mode: 0o644, token: true}},
		"user":   {&user, nil, File{Mode: 0o400}, File{Mode: 0o600, User: 1000, token: true}},
		"group":  {nil, &group, File{Mode: 0o440, Group: 2000}, File{Mode: 0o640, Group: 2000, token: true}},
		"both":   {&user, &group, File{Mode: 0o440, Group: 2000}, File{Mode: 0o640, User: 1000, Group: 2000, token: true}},
	} {
		got := Files{"plain": {Mode: 0o400}, "token": {Mode: 0o644, token: true}}
		got.SetOwner(c.user, c.group)
		if diff := cmp.Diff(Files{"plain": c.plain, "token": c.own}, got, cmp.AllowUnexported(File{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestTextOf(t *testing.T) {
	if got, want := TextOf(map[string]string{"b": "2", "a": "line\n\"two\""}), "a=\"line\\n\\\"two\\\"\"\nb=\"2\""; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// No path that is taken leads out of the directory that it is in, or to what the agent keeps there.
func FuzzCheckPath(f *testing.F) {
	for _, seed := range []string{"a", "a/b", "..", "../a", "a/../b", "/a", "a//b", "..data", "a/..data", ".", "a/.", "a\x00b", strings.Repeat("a", 256), ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if CheckPath(path) != nil {
			return
		}
		depth := 0
		for i, part := range strings.Split(path, "/") {
			switch {
			case part == "..":
				depth--
			case part != "" && part != ".":
				depth++
			}
			if depth < 1 || i == 0 && strings.HasPrefix(part, "..") || len(part) > 255 || strings.Contains(part, "\x00") {
				t.Errorf("%q is taken", path)
			}
		}
	})
}
