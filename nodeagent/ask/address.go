package ask

import (
	"fmt"
	"net"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/intstr"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// Target is where a container is asked that has no address of its own.
type Target struct {
	// Spec has the names of ports.
	Spec *miniv1.Container
	// Address of its MiniPod.
	Address string
}

// At is where to ask: a host of its own or the MiniPod, and a port by number or by the name that the container gives it.
func (t Target) At(host string, port intstr.IntOrString) (string, error) {
	if host == "" {
		host = t.Address
	}
	number := int(port.IntVal)
	if port.Type == intstr.String {
		var err error
		if number, err = t.portNamed(port.StrVal); err != nil {
			return "", err
		}
	}
	if number < 1 || number > 65535 {
		return "", fmt.Errorf("port %d is none", number)
	}
	return net.JoinHostPort(host, strconv.Itoa(number)), nil
}

func (t Target) portNamed(name string) (int, error) {
	for _, p := range t.Spec.Ports {
		if p.Name == name {
			return int(p.ContainerPort), nil
		}
	}
	if number, err := strconv.Atoi(name); err == nil {
		return number, nil
	}
	return 0, fmt.Errorf("the container has no port %q", name)
}

// NewDialer makes connections that leave this machine's table of them a second after their end, not a minute: there are many.
func NewDialer() *net.Dialer {
	return &net.Dialer{KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			_ = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 1}) // it works without, too
		})
	}}
}
