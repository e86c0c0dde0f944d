package containerd

import (
	"strconv"

	"github.com/containerd/containerd/v2/core/containers"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

// stopSignalFor is how a container is asked to end. An image that names a signal which there is none of gets SIGTERM, as one that names
// none: what it says must not keep it from being ended.
func stopSignalFor(spec *runtime.ContainerSpec, image *imageFacts) runtime.Signal {
	if spec.StopSignal != 0 {
		return spec.StopSignal
	}
	if signal, err := runtime.ParseSignal(image.config.StopSignal); err == nil {
		return signal
	}
	return runtime.SIGTERM
}

// stopSignalOf is the same as its record has it: that the image is gone, or the name another's, changes nothing.
func stopSignalOf(record containers.Container) runtime.Signal {
	if number, err := strconv.Atoi(record.Labels[labelStop]); err == nil {
		return runtime.Signal(number)
	}
	return runtime.SIGTERM
}
