package containerd

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

// capabilities of a container, as Kubernetes' runtimes give by default.
var capabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// Filters of system calls depend on nothing but the capabilities; these two are the usual ones.
var (
	seccompProfile = profileFor(capabilities)
	seccompBare    = profileFor(nil)
)

func profileFor(caps []string) *specs.LinuxSeccomp {
	return seccomp.DefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}})
}

// rights are what a container's Security comes to with its image and on this machine.
type rights struct {
	user         specs.User
	capabilities []string
	seccomp      *specs.LinuxSeccomp
	// devices of the machine, for privileged containers only.
	devices []specs.LinuxDevice
}

// rightsOf works the Security out.
func (r *Runtime) rightsOf(want *runtime.Security, image *imageFacts) (rights, error) {
	user, err := userOf(want, image)
	if err != nil {
		return rights{}, err
	}
	out := rights{user: user, capabilities: capabilities, seccomp: seccompProfile}
	if want.Privileged {
		out.seccomp = nil
		machine, err := r.machine()
		if err != nil {
			return rights{}, err
		}
		if out.capabilities, err = machine.capabilities(); err != nil {
			return rights{}, err
		}
		out.devices, err = machine.devices()
		return out, err
	}
	if out.capabilities, err = r.capabilitiesOf(want); err != nil {
		return rights{}, err
	}
	switch {
	case want.NoSeccomp:
		out.seccomp = nil
	case len(out.capabilities) == 0:
		out.seccomp = seccompBare
	case !slices.Equal(out.capabilities, capabilities):
		out.seccomp = profileFor(out.capabilities)
	}
	return out, nil
}

// capabilitiesOf adds and drops. The machine is asked only when something is added: runc would just leave out what the
// machine does not have.
func (r *Runtime) capabilitiesOf(want *runtime.Security) ([]string, error) {
	if len(want.AddCapabilities)+len(want.DropCapabilities) == 0 {
		return capabilities, nil
	}
	var there []string
	if len(want.AddCapabilities) > 0 {
		machine, err := r.machine()
		if err != nil {
			return nil, err
		}
		if there, err = machine.capabilities(); err != nil {
			return nil, err
		}
	}
	return changeCapabilities(want.AddCapabilities, want.DropCapabilities, there)
}

// changeCapabilities applies ALL first, then additions, then drops, so that "drop ALL, add NET_BIND_SERVICE" and "add ALL, drop
// SYS_ADMIN" mean what they say.
func changeCapabilities(add, drop, there []string) ([]string, error) {
	out := slices.Clone(capabilities)
	if slices.Contains(add, runtime.AllCapabilities) {
		out = slices.Clone(there)
	}
	if slices.Contains(drop, runtime.AllCapabilities) {
		out = nil
	}
	for _, name := range add {
		full := "CAP_" + name
		switch {
		case name == runtime.AllCapabilities || slices.Contains(out, full):
		case !slices.Contains(there, full):
			return nil, fmt.Errorf("%w: the capability %s is added, and this machine's containerd does not have it itself; "+
				"take it off securityContext.capabilities.add or let the MiniPod run on another node", runtime.ErrSettings, name)
		default:
			out = append(out, full)
		}
	}
	return slices.DeleteFunc(out, func(full string) bool { return slices.Contains(drop, full[len("CAP_"):]) }), nil
}

// userOf is whom the container runs as: what is wanted, or else what the image says.
func userOf(want *runtime.Security, image *imageFacts) (specs.User, error) {
	name := image.config.User
	if want.User != nil {
		name = strconv.FormatUint(uint64(*want.User), 10)
	}
	user, err := resolveUser(name, image.accounts)
	if err != nil {
		return specs.User{}, err
	}
	if want.NonRoot && user.UID == 0 {
		return specs.User{}, nonRootError(want, image.config.User)
	}
	groups := user.AdditionalGids[1:] // the first is the primary one
	if want.Group != nil {
		user.GID = *want.Group
	}
	if want.OnlyGroups {
		groups = nil
	}
	user.AdditionalGids = []uint32{user.GID}
	for _, group := range slices.Concat(groups, want.Groups) {
		if !slices.Contains(user.AdditionalGids, group) {
			user.AdditionalGids = append(user.AdditionalGids, group)
		}
	}
	return user, nil
}

func nonRootError(want *runtime.Security, imageUser string) error {
	if want.User != nil {
		return fmt.Errorf("%w: runAsUser is 0 and runAsNonRoot is true; give another runAsUser", runtime.ErrSettings)
	}
	if imageUser == "" {
		imageUser = "root, because it names none"
	}
	return fmt.Errorf("%w: runAsNonRoot is true and the image's user is %s; give a runAsUser that is not 0, or take an image with a USER",
		runtime.ErrSettings, imageUser)
}
