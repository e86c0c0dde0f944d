package volumes

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// File of a volume.
type File struct {
	Data []byte
	// Mode is the permissions, 0 to 0777.
	Mode uint32
	// User and Group that it belongs to.
	User, Group uint32

	token bool
}

// Files of a volume, by their paths in it.
type Files map[string]File

// defaultMode is that of native volumes.
const defaultMode = 0o644

// Fields says what a field of the MiniPod, or an amount of a container, is in text.
type Fields interface {
	Field(path string) string
	Amount(ref *miniv1.ResourceFieldSelector) (string, error)
}

// SetOwner gives all files to a group, which may read them; and tokens to the user that all containers run as, and to nobody else, if there is
// such a user or group. Both as in a native Pod.
func (f Files) SetOwner(user, group *uint32) {
	for path, file := range f {
		if file.token && (user != nil || group != nil) {
			file.Mode = 0o600
			if user != nil {
				file.User = *user
			}
		}
		if group != nil {
			file.Group, file.Mode = *group, file.Mode|0o440
		}
		f[path] = file
	}
}

// HasFiles tells whether the volume consists of files that the agent writes.
func HasFiles(v *miniv1.Volume) bool {
	return v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil
}

// FilesOf are the files of a volume. The error tells what is missing, or which path is none.
func FilesOf(v *miniv1.Volume, objects Objects, fields Fields) (Files, error) {
	out := Files{}
	var err error
	switch {
	case v.ConfigMap != nil:
		err = out.configMap(v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.DefaultMode, v.ConfigMap.Optional, objects)
	case v.Secret != nil:
		err = out.secret(v.Secret.SecretName, v.Secret.Items, v.Secret.DefaultMode, v.Secret.Optional, objects)
	case v.DownwardAPI != nil:
		err = out.fields(v.DownwardAPI.Items, v.DownwardAPI.DefaultMode, fields)
	case v.Projected != nil:
		for i := range v.Projected.Sources {
			if err = out.project(&v.Projected.Sources[i], v.Projected.DefaultMode, objects, fields); err != nil {
				return nil, err
			}
		}
	}
	if err != nil {
		return nil, err
	}
	return out, out.check()
}

func (f Files) project(s *miniv1.VolumeProjection, mode *int32, objects Objects, fields Fields) error {
	switch {
	case s.ConfigMap != nil:
		return f.configMap(s.ConfigMap.Name, s.ConfigMap.Items, mode, s.ConfigMap.Optional, objects)
	case s.Secret != nil:
		return f.secret(s.Secret.Name, s.Secret.Items, mode, s.Secret.Optional, objects)
	case s.DownwardAPI != nil:
		return f.fields(s.DownwardAPI.Items, mode, fields)
	case s.ServiceAccountToken != nil:
		return f.token(s.ServiceAccountToken, mode, objects)
	}
	return fmt.Errorf("a source of it is none of configMap, secret, downwardAPI and serviceAccountToken")
}

// token makes a file of a token. Where its user is known it is for that user alone, as a native Pod's (see SetOwner).
func (f Files) token(s *miniv1.ServiceAccountTokenProjection, mode *int32, objects Objects) error {
	text, ok := objects.Tokens[tokenOf(s)]
	if !ok {
		return fmt.Errorf("it has no token")
	}
	f[strings.TrimSuffix(s.Path, "/")] = File{Data: []byte(text), Mode: modeOf(nil, mode), token: true}
	return nil
}

func (f Files) configMap(name string, items []miniv1.KeyToPath, mode *int32, optional *bool, objects Objects) error {
	found, err := objects.ConfigMap(name, optional)
	if found == nil {
		return err
	}
	data := make(map[string][]byte, len(found.Data)+len(found.BinaryData))
	for key, value := range found.Data {
		data[key] = []byte(value)
	}
	maps.Copy(data, found.BinaryData)
	return f.keys("configmap", name, data, items, mode, optional)
}

func (f Files) secret(name string, items []miniv1.KeyToPath, mode *int32, optional *bool, objects Objects) error {
	found, err := objects.Secret(name, optional)
	if found == nil {
		return err
	}
	return f.keys("secret", name, found.Data, items, mode, optional)
}

// keys makes files of the keys of an object: of all, or of those that are asked for.
func (f Files) keys(kind, name string, data map[string][]byte, items []miniv1.KeyToPath, mode *int32, need *bool) error {
	if len(items) == 0 {
		for key, value := range data {
			f[key] = File{Data: value, Mode: modeOf(nil, mode)}
		}
		return nil
	}
	for _, item := range items {
		value, ok := data[item.Key]
		switch {
		case ok:
			f[strings.TrimSuffix(item.Path, "/")] = File{Data: value, Mode: modeOf(item.Mode, mode)}
		case !optional(need):
			return &Missing{Kind: kind, Name: name, Key: item.Key}
		}
	}
	return nil
}

func (f Files) fields(items []miniv1.DownwardAPIVolumeFile, mode *int32, fields Fields) error {
	for i := range items {
		item := &items[i]
		var text string
		switch {
		case item.FieldRef != nil:
			text = fields.Field(item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			var err error
			if text, err = fields.Amount(item.ResourceFieldRef); err != nil {
				return err
			}
		default:
			return fmt.Errorf("item %q names neither a field nor an amount", item.Path)
		}
		f[strings.TrimSuffix(item.Path, "/")] = File{Data: []byte(text), Mode: modeOf(item.Mode, mode)}
	}
	return nil
}

func modeOf(own, all *int32) uint32 {
	switch {
	case own != nil:
		return uint32(*own) & 0o777
	case all != nil:
		return uint32(*all) & 0o777
	}
	return defaultMode
}

// check refuses paths that lead out of the volume, that are the agent's own, or that are both a file and a directory. The API refuses the
// first too; here they are refused whatever it let through.
func (f Files) check() error {
	for _, path := range slices.Sorted(maps.Keys(f)) {
		if err := CheckPath(path); err != nil {
			return err
		}
		for i := range path {
			if path[i] != '/' {
				continue
			}
			if _, file := f[path[:i]]; file {
				return fmt.Errorf("%q cannot be both a file and a directory of %q", path[:i], path)
			}
		}
	}
	return nil
}

// longest is what the kernel takes as a path, and as a name in it.
const longestPath, longestName = 4095, 255

// CheckPath tells what is wrong with a path in a volume: it has to be relative, without . and .., and its first part not begin with two
// dots, as what the agent keeps there itself does.
func CheckPath(path string) error {
	if path == "" || len(path) > longestPath || strings.ContainsRune(path, 0) {
		return fmt.Errorf("%q is not a path of a file", path)
	}
	for i, part := range strings.Split(path, "/") {
		switch {
		case part == "" || part == "." || part == ".." || len(part) > longestName:
			return fmt.Errorf("path %q must be relative, and have no part that is empty, \".\" or \"..\"", path)
		case i == 0 && strings.HasPrefix(part, ".."):
			return fmt.Errorf("path %q must not begin with \"..\"", path)
		}
	}
	return nil
}

// TextOf writes labels or annotations as a file has them, in the form of a kubelet: sorted, one a line.
func TextOf(values map[string]string) string {
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		lines = append(lines, fmt.Sprintf("%s=%q", key, values[key]))
	}
	return strings.Join(lines, "\n")
}
