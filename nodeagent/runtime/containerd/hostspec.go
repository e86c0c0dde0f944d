package containerd

import (
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/api/types"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// hostSpec is the idle process of a shim host: it sees nothing and may do nothing.
func hostSpec(cgroupPath string, oomMin int) *specs.Spec {
	return &specs.Spec{
		Version: "1.1.0",
		Root:    &specs.Root{Path: "rootfs", Readonly: true},
		Process: &specs.Process{
			Args: []string{"/pause", "hold"}, Cwd: "/", NoNewPrivileges: true, OOMScoreAdj: &oomMin,
			User:         specs.User{UID: 65534, GID: 65534},
			Capabilities: &specs.LinuxCapabilities{},
		},
		Linux: &specs.Linux{
			CgroupsPath: cgroupPath,
			Namespaces:  []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}},
			Resources:   &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
		},
		Mounts: basicMounts[:2], // /proc and /dev
	}
}

// hostRoot makes the file system of hosts: the pause program and nothing else.
func (r *Runtime) hostRoot() ([]*types.Mount, error) {
	dir := filepath.Join(r.opts.StateDir, "shim-root")
	for _, name := range []string{"proc", "dev"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return nil, err
		}
	}
	program := filepath.Join(dir, "pause")
	if _, err := os.Stat(program); err != nil {
		if err := copyProgram(r.opts.PauseBinary, program); err != nil {
			return nil, err
		}
	}
	return []*types.Mount{{Type: "bind", Source: dir, Options: []string{"rbind", "ro"}}}, nil
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}
