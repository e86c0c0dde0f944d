//go:build linux && cgo

package shim

import (
	"testing"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The view is the server's only where nothing but libcontainer's own sysfs can be in its place.
func TestTakeView(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*configs.Config)
		taken  bool
	}{
		"usual":        {func(*configs.Config) {}, true},
		"no view":      {func(c *configs.Config) { c.Mounts = c.Mounts[:1] }, false},
		"another /sys": {func(c *configs.Config) { c.Mounts[0].Device = "bind" }, false},
		"a mount above": {func(c *configs.Config) {
			c.Mounts = append(c.Mounts, &configs.Mount{Destination: "/sys/fs", Device: "bind"})
		}, false},
		"a mount inside": {func(c *configs.Config) {
			c.Mounts = append(c.Mounts, &configs.Mount{Destination: viewPlace + "/x", Device: "bind"})
		}, false},
		"a mount elsewhere": {func(c *configs.Config) {
			c.Mounts = append(c.Mounts, &configs.Mount{Destination: "/system", Device: "bind"})
		}, true},
		"own cgroup namespace": {func(c *configs.Config) {
			c.Namespaces = append(c.Namespaces, configs.Namespace{Type: configs.NEWCGROUP})
		}, false},
		"own users": {func(c *configs.Config) { c.Namespaces = append(c.Namespaces, configs.Namespace{Type: configs.NEWUSER}) }, false},
	} {
		config := &configs.Config{Rootfs: "/root", Mounts: []*configs.Mount{
			{Destination: "/sys", Device: "sysfs"}, {Destination: viewPlace, Device: "cgroup", Flags: unix.MS_RDONLY},
		}}
		c.change(config)
		before := len(config.Mounts)
		v := takeView(config, "/mini")
		if (v != nil) != c.taken || (len(config.Mounts) < before) != c.taken {
			t.Errorf("%s: taken: %t, %d of %d mounts are left", name, v != nil, len(config.Mounts), before)
		}
		if v != nil && *v != (view{rootfs: "/root", cgroup: "/mini", flags: unix.MS_RDONLY}) {
			t.Errorf("%s: %+v", name, *v)
		}
	}
}

// What runs once is gone after that, also when it fails, and leaves other hooks where they were.
func TestViewIsAHookOnce(t *testing.T) {
	ran := 0
	other := configs.NewFunctionHook(func(*specs.State) error { ran++; return nil })
	hooks := configs.Hooks{configs.CreateRuntime: {other}}
	(&view{}).hang(hooks)
	if err := hooks.Run(configs.CreateRuntime, &specs.State{Pid: -1}); err == nil {
		t.Error("a view was mounted for no process")
	}
	if len(hooks[configs.CreateRuntime]) != 1 {
		t.Errorf("hooks %v", hooks)
	}
	if err := hooks.Run(configs.CreateRuntime, &specs.State{}); err != nil || ran != 1 {
		t.Errorf("the other hook ran %d times: %v", ran, err)
	}
}
