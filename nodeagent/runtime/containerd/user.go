package containerd

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"miniplane.dev/miniplane/nodeagent/foreign"
)

// maxAccounts is how large an image's /etc/passwd or /etc/group may be, in bytes: they are kept in memory.
const maxAccounts = 256 << 10

// accounts are an image's users and groups: the fields of the lines of its /etc/passwd and /etc/group.
type accounts struct{ users, groups [][]string }

func readAccounts(root string) (accounts, error) {
	var out accounts
	for _, file := range []struct {
		name   string
		fields int
		to     *[][]string
	}{{"etc/passwd", 4, &out.users}, {"etc/group", 3, &out.groups}} {
		// A link in an image leads where it does in the container, and never to the node's files.
		text, err := foreign.ReadInside(root, file.name, maxAccounts)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return accounts{}, fmt.Errorf("of the image: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Split(strings.TrimSpace(line), ":"); len(fields) >= file.fields {
				*file.to = append(*file.to, fields)
			}
		}
	}
	return out, nil
}

// size is about how many bytes they take.
func (a accounts) size() int64 {
	var n int
	for _, lines := range [][][]string{a.users, a.groups} {
		for _, fields := range lines {
			for _, field := range fields {
				n += len(field) + 16 // its header
			}
		}
	}
	return int64(n)
}

// resolveUser finds a user by name or number, with or without a group, as an image's USER or runAsUser names it. The first of
// AdditionalGids is the primary group, the others are those of the user in /etc/group.
func resolveUser(wanted string, known accounts) (specs.User, error) {
	name, group, hasGroup := strings.Cut(wanted, ":")
	if name == "" {
		name = "0"
	}
	var out specs.User
	if id, ok := number(name); ok {
		out.UID = id
	} else if entry := find(known.users, 0, name); entry != nil {
		out.UID, _ = number(entry[2])
	} else {
		return out, fmt.Errorf("the image wants user %q, which is not in its /etc/passwd: %w", name, errdefs.ErrInvalidArgument)
	}
	if entry := find(known.users, 2, strconv.Itoa(int(out.UID))); entry != nil {
		name = entry[0]
		out.GID, _ = number(entry[3])
	}
	if hasGroup {
		if id, ok := number(group); ok {
			out.GID = id
		} else if entry := find(known.groups, 0, group); entry != nil {
			out.GID, _ = number(entry[2])
		} else {
			return out, fmt.Errorf("the image wants group %q, which is not in its /etc/group: %w", group, errdefs.ErrInvalidArgument)
		}
	}
	out.AdditionalGids = []uint32{out.GID}
	for _, entry := range known.groups {
		if id, ok := number(entry[2]); ok && len(entry) > 3 && slices.Contains(strings.Split(entry[3], ","), name) &&
			!slices.Contains(out.AdditionalGids, id) {
			out.AdditionalGids = append(out.AdditionalGids, id)
		}
	}
	return out, nil
}

func number(text string) (uint32, bool) {
	n, err := strconv.ParseUint(text, 10, 31)
	return uint32(n), err == nil
}

func find(lines [][]string, field int, value string) []string {
	for _, line := range lines {
		if line[field] == value {
			return line
		}
	}
	return nil
}
