//go:build linux && cgo

package shim

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/configs/validate"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// readSpec reads what containerd wrote into a bundle.
func readSpec(bundle string) (*specs.Spec, error) {
	text, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		return nil, err
	}
	spec := &specs.Spec{}
	if err := json.Unmarshal(text, spec); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	if spec.Process == nil || spec.Root == nil || spec.Linux == nil {
		return nil, fmt.Errorf("config.json: process, root and linux must be given")
	}
	if !filepath.IsAbs(spec.Root.Path) {
		spec.Root.Path = filepath.Join(bundle, spec.Root.Path)
	}
	if !filepath.IsAbs(spec.Linux.CgroupsPath) {
		return nil, fmt.Errorf("config.json: linux.cgroupsPath %q must be an absolute path", spec.Linux.CgroupsPath)
	}
	return spec, nil
}

// config translates the spec as runc does.
func config(id string, spec *specs.Spec) (*configs.Config, error) {
	out, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{CgroupName: id, Spec: spec})
	if err != nil {
		return nil, err
	}
	return out, validate.Validate(out)
}

// load makes libcontainer's container. Its state is written here, and loaded, because Create knows no other way to leave the
// cgroup to somebody else (see home).
func load(root, id string, config *configs.Config, h *home) (*libcontainer.Container, error) {
	if h.v1 == nil {
		return libcontainer.Create(root, id, config)
	}
	dir := filepath.Join(root, id)
	if err := os.Mkdir(dir, 0o711); err != nil {
		return nil, err
	}
	if h.view != nil && len(config.Hooks) == 0 {
		config.Hooks = configs.Hooks{configs.CreateRuntime: nil} // so that the container gets a map of its own for them
	}
	state, err := json.Marshal(libcontainer.State{
		BaseState: libcontainer.BaseState{ID: id, Config: *config}, CgroupPaths: nowhere,
	})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "state.json"), state, 0o600); err != nil {
		return nil, err
	}
	container, err := libcontainer.Load(root, id)
	if err == nil && h.view != nil {
		h.view.hang(container.Config().Hooks)
	}
	return container, err
}

// process translates a process of the spec.
func process(p *specs.Process) (*libcontainer.Process, error) {
	out := &libcontainer.Process{
		Args: p.Args, Env: p.Env, Cwd: p.Cwd, UID: int(p.User.UID), GID: int(p.User.GID),
		Label: p.SelinuxLabel, AppArmorProfile: p.ApparmorProfile, NoNewPrivileges: &p.NoNewPrivileges,
		Scheduler: p.Scheduler, IOPriority: p.IOPriority,
		LogLevel: "3", // warnings
	}
	if p.ConsoleSize != nil {
		out.ConsoleWidth, out.ConsoleHeight = uint16(p.ConsoleSize.Width), uint16(p.ConsoleSize.Height)
	}
	if c := p.Capabilities; c != nil {
		out.Capabilities = &configs.Capabilities{
			Bounding: c.Bounding, Effective: c.Effective, Inheritable: c.Inheritable, Permitted: c.Permitted, Ambient: c.Ambient,
		}
	}
	for _, gid := range p.User.AdditionalGids {
		out.AdditionalGroups = append(out.AdditionalGroups, int(gid))
	}
	for _, limit := range p.Rlimits {
		kind, known := rlimits[limit.Type]
		if !known {
			return nil, fmt.Errorf("rlimit %s is not known", strconv.Quote(limit.Type))
		}
		out.Rlimits = append(out.Rlimits, configs.Rlimit{Type: kind, Hard: limit.Hard, Soft: limit.Soft})
	}
	var err error
	out.CPUAffinity, err = configs.ConvertCPUAffinity(p.ExecCPUAffinity)
	return out, err
}

var rlimits = map[string]int{
	"RLIMIT_CPU": unix.RLIMIT_CPU, "RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_DATA": unix.RLIMIT_DATA,
	"RLIMIT_STACK": unix.RLIMIT_STACK, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_RSS": unix.RLIMIT_RSS,
	"RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK,
	"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS, "RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING,
	"RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE, "RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO,
	"RLIMIT_RTTIME": unix.RLIMIT_RTTIME,
}
