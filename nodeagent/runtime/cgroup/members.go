package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
)

// Members are the processes in a cgroup and below, in whatever hierarchy has any. An error says that the kernel did not tell of all.
func Members(path string) ([]int, error) {
	var out []int
	for _, h := range hierarchies() {
		if err := members(filepath.Join(h.root, path), &out); err != nil {
			return nil, err
		}
	}
	if len(hierarchies()) == 0 {
		return nil, errors.New("no hierarchy of cgroups is known")
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func members(dir string, out *[]int) error {
	there, err := procs(dir)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, pid := range there {
		visiting, err := visits(dir, pid)
		if err != nil {
			return err
		}
		if !visiting {
			*out = append(*out, pid)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !gone(err) {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		if err := members(filepath.Join(dir, entry.Name()), out); err != nil {
			return err
		}
	}
	return nil
}
