package volumes

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/types"
)

// ofImage has the directories that images call volumes, for each container that has such. No volume has that name.
const ofImage = ".image"

// OfImage implements Manager.
func (m *manager) OfImage(uid types.UID, container string) string {
	return filepath.Join(m.disk, string(uid), ofImage, container)
}

// RemoveOfImage implements Manager. The container that had them is gone, and may have left there what it could, as in an emptyDir.
func (m *manager) RemoveOfImage(uid types.UID, container string) error {
	if err := checkContainer(uid, container); err != nil {
		return err
	}
	dir := m.OfImage(uid, container)
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	defer m.locks.lock(uid)()
	if err := removeTree(filepath.Dir(dir), container); err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := unmountBelow(dir); err != nil { // which is long to find out, where nobody mounts anything
		return err
	}
	if err := m.after("unmounted volumes of the image"); err != nil {
		return err
	}
	return removeTree(filepath.Dir(dir), container)
}

// checkContainer checks the ID of a container, which has the form of a UID and more.
func checkContainer(uid types.UID, container string) error {
	return errors.Join(check(uid), check(types.UID(container)))
}
