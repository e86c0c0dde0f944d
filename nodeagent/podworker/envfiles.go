package podworker

import (
	"errors"
	"fmt"
	"io/fs"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/envfile"
)

// mostEnvFile is how large a file may be that variables come from, in bytes; as KEP-3721 has it.
const mostEnvFile = 64 << 10

// readEnvFile reads a file of a volume that variables come from.
type readEnvFile func(volume, path string) (envfile.File, error)

// envFiles reads files of a MiniPod for one container that is about to be made. Variables that stand together mostly are of one file: the last one is
// remembered, and no more, as there can be as many files as variables.
func (p *Pool) envFiles(pod *miniv1.MiniPod) readEnvFile {
	var last struct {
		volume, path string
		file         envfile.File
		err          error
	}
	return func(volume, path string) (envfile.File, error) {
		if last.volume != volume || last.path != path {
			last.volume, last.path = volume, path
			last.file, last.err = p.envFile(pod, volume, path)
		}
		return last.file, last.err
	}
}

func (p *Pool) envFile(pod *miniv1.MiniPod, volume, path string) (envfile.File, error) {
	v := volumeNamed(pod, volume)
	if v == nil || v.EmptyDir == nil {
		return envfile.File{}, errors.New("there is no emptyDir of that name")
	}
	w, err := p.wantedVolume(pod, v)
	if err != nil {
		return envfile.File{}, err
	}
	text, err := p.Volumes.Read(pod.UID, w, path, mostEnvFile)
	if err != nil {
		return envfile.File{}, err
	}
	return envfile.Read(string(text)), nil
}

// fileValue is the value of a key in a file. One that is empty is none, as for a kubelet.
func fileValue(ref *miniv1.FileKeySelector, read readEnvFile) (string, bool, error) {
	if read == nil {
		return "", false, nil
	}
	file, err := read(ref.VolumeName, ref.Path)
	if errors.Is(err, fs.ErrNotExist) && isTrue(ref.Optional) {
		return "", false, nil
	}
	var value string
	if err == nil {
		value, err = file.Value(ref.Key)
	}
	if err == nil && value == "" && !isTrue(ref.Optional) {
		err = fmt.Errorf("it has no key %q, or no value of it", ref.Key)
	}
	if err != nil {
		return "", false, fmt.Errorf("file %q of volume %q: %w", ref.Path, ref.VolumeName, err)
	}
	return value, value != "", nil
}
