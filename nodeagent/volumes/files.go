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

// Room is what the files of all volumes of a MiniPod may still take, in pages.
type Room struct{ pages int }

// NewRoom is that of a MiniPod that has no files yet.
func NewRoom() *Room { return &Room{pages: mostBytes / filePage} }

// take takes what a file of so many bytes needs.
func (r *Room) take(size int) error {
	r.pages -= max(1, (size+filePage-1)/filePage)
	return r.check()
}

// check tells that more was taken than there is.
func (r *Room) check() error {
	if r.pages < 0 {
		return fmt.Errorf("the files of all volumes of a MiniPod can take %d MiB, each in whole pages of %d KiB, and these take more", mostBytes>>20, filePage>>10)
	}
	return nil
}

// maker makes the files of a volume.
type maker struct {
	files   Files
	objects Objects
	fields  Fields
	room    *Room
}

// FilesOf are the files of a volume, and take of the room, also those in whose place a later source has another: one object can be named thousands of times. The error
// tells what is missing, or too much, or which path is none.
func FilesOf(v *miniv1.Volume, objects Objects, fields Fields, room *Room) (Files, error) {
	m := &maker{Files{}, objects, fields, room}
	err := room.check()
	switch {
	case err != nil:
	case v.ConfigMap != nil:
		err = m.configMap(v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.DefaultMode, v.ConfigMap.Optional)
	case v.Secret != nil:
		err = m.secret(v.Secret.SecretName, v.Secret.Items, v.Secret.DefaultMode, v.Secret.Optional)
	case v.DownwardAPI != nil:
		err = m.about(v.DownwardAPI.Items, v.DownwardAPI.DefaultMode)
	case v.Projected != nil:
		for i := range v.Projected.Sources {
			if err = m.project(&v.Projected.Sources[i], v.Projected.DefaultMode); err != nil {
				return nil, err
			}
		}
	}
	if err != nil {
		return nil, err
	}
	return m.files, m.files.check()
}

// put makes a file, if there is room for it.
func (m *maker) put(path string, file File) error {
	if err := m.room.take(len(file.Data)); err != nil {
		return err
	}
	m.files[strings.TrimSuffix(path, "/")] = file
	return nil
}

func (m *maker) project(s *miniv1.VolumeProjection, mode *int32) error {
	switch {
	case s.ConfigMap != nil:
		return m.configMap(s.ConfigMap.Name, s.ConfigMap.Items, mode, s.ConfigMap.Optional)
	case s.Secret != nil:
		return m.secret(s.Secret.Name, s.Secret.Items, mode, s.Secret.Optional)
	case s.DownwardAPI != nil:
		return m.about(s.DownwardAPI.Items, mode)
	case s.ServiceAccountToken != nil:
		return m.token(s.ServiceAccountToken, mode)
	}
	return fmt.Errorf("a source of it is none of configMap, secret, downwardAPI and serviceAccountToken")
}

// token makes a file of a token. Where its user is known it is for that user alone, as a native Pod's (see SetOwner).
func (m *maker) token(s *miniv1.ServiceAccountTokenProjection, mode *int32) error {
	text, ok := m.objects.Tokens[tokenOf(s)]
	if !ok {
		return fmt.Errorf("it has no token")
	}
	return m.put(s.Path, File{Data: []byte(text), Mode: modeOf(nil, mode), token: true})
}

func (m *maker) configMap(name string, items []miniv1.KeyToPath, mode *int32, optional *bool) error {
	found, err := m.objects.ConfigMap(name, optional)
	if found == nil {
		return err
	}
	data := make(map[string][]byte, len(found.Data)+len(found.BinaryData))
	for key, value := range found.Data {
		data[key] = []byte(value)
	}
	maps.Copy(data, found.BinaryData)
	return m.keys("configmap", name, data, items, mode, optional)
}

func (m *maker) secret(name string, items []miniv1.KeyToPath, mode *int32, optional *bool) error {
	found, err := m.objects.Secret(name, optional)
	if found == nil {
		return err
	}
	return m.keys("secret", name, found.Data, items, mode, optional)
}

// keys makes files of the keys of an object: of all, or of those that are asked for.
func (m *maker) keys(kind, name string, data map[string][]byte, items []miniv1.KeyToPath, mode *int32, need *bool) error {
	if len(items) == 0 {
		for key, value := range data {
			if err := m.put(key, File{Data: value, Mode: modeOf(nil, mode)}); err != nil {
				return err
			}
		}
		return nil
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok && optional(need) {
			continue
		}
		if !ok {
			return &Missing{Kind: kind, Name: name, Key: item.Key}
		}
		if err := m.put(item.Path, File{Data: value, Mode: modeOf(item.Mode, mode)}); err != nil {
			return err
		}
	}
	return nil
}

// about makes files of fields of the MiniPod.
func (m *maker) about(items []miniv1.DownwardAPIVolumeFile, mode *int32) error {
	for i := range items {
		item := &items[i]
		var text string
		switch {
		case item.FieldRef != nil:
			text = m.fields.Field(item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			var err error
			if text, err = m.fields.Amount(item.ResourceFieldRef); err != nil {
				return err
			}
		default:
			return fmt.Errorf("item %q names neither a field nor an amount", item.Path)
		}
		if err := m.put(item.Path, File{Data: []byte(text), Mode: modeOf(item.Mode, mode)}); err != nil {
			return err
		}
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
