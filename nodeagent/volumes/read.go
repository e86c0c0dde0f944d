package volumes

import (
	"errors"

	"k8s.io/apimachinery/pkg/types"

	"miniplane.dev/miniplane/nodeagent/foreign"
)

// Read implements Manager. Containers write there, and may have made anything of it: the path is followed as a subPath is, and what is found is read
// only if it is a regular file, and as it is at this moment.
func (m *manager) Read(uid types.UID, w Wanted, path string, most int64) ([]byte, error) {
	if err := check(uid, w.Name); err != nil {
		return nil, err
	}
	defer m.locks.lock(uid)()
	root, err := openRoot(m.place(uid, w))
	if err != nil { // which is something else than a file that is not there
		return nil, errors.New("the volume is not there: " + err.Error())
	}
	defer func() { _ = root.Close() }()
	found, err := openBeneath(root, path, false, inVolume)
	if err != nil {
		return nil, inWords(err)
	}
	defer func() { _ = found.Close() }()
	return foreign.ReadFound(found, most)
}
