package runtime

import "errors"

// ErrSettings is wrapped by Create's errors for settings that cannot be had with this image or on this machine: a container
// that must not run as root from an image that does, a capability that the machine does not have. The image or the settings
// must change; trying again helps only then.
var ErrSettings = errors.New("the container's settings cannot be met")

// AllCapabilities stands for all there are in Security's lists.
const AllCapabilities = "ALL"

// Security is as whom a container runs, and what it may do. The zero value is what a container has when nothing is said: the
// image's user, the capabilities and the filter of system calls that Kubernetes' runtimes give by default.
type Security struct {
	// User to run as; the image's when nil.
	User *uint32
	// Group is the primary group; that of the user in the image's /etc/passwd when nil, and 0 if the user is not there.
	Group *uint32
	// NonRoot refuses, with ErrSettings, to create a container that would run as user 0.
	NonRoot bool
	// Groups are more groups of the process.
	Groups []uint32
	// OnlyGroups leaves out the groups that the user has in the image's /etc/group.
	OnlyGroups bool

	// AddCapabilities and DropCapabilities change the default. Names are as in capabilities(7) without CAP_. AllCapabilities is
	// taken first, then what is added, then what is dropped.
	AddCapabilities, DropCapabilities []string
	// NoNewPrivileges keeps the process from gaining rights by what it executes.
	NoNewPrivileges bool
	// NoSeccomp leaves system calls unfiltered.
	NoSeccomp bool
	// ReadOnlyRoot makes the file system of the container read-only, except for its mounts.
	ReadOnlyRoot bool
	// Privileged gives all capabilities and devices of the machine, unfiltered system calls, and /proc and /sys to write.
	// Capabilities that are added or dropped do not count then.
	Privileged bool
}
