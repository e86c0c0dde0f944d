//go:build linux && cgo

package guard

/*
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>

// A filter has at most 4096 instructions; the flags stand before them.
static struct {
	unsigned int flags;
	struct sock_filter program[BPF_MAXINSNS];
} message;

// ready is posted when the thread's capabilities are safe from what the init does next.
static sem_t ready;

static void *watch(void *fd) {
	int result = 0, number = (int)(long)fd;
	ssize_t n;
	if (prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) < 0)
		result = errno;
	sem_post(&ready);
	do
		n = recv(number, &message, sizeof(message), 0);
	while (n < 0 && errno == EINTR);
	if (n <= (ssize_t)offsetof(typeof(message), program))
		return NULL; // nobody will let this process go
	if (result == 0) {
		struct sock_fprog program = {
			.len = (unsigned short)((n - offsetof(typeof(message), program)) / sizeof(struct sock_filter)),
			.filter = message.program,
		};
		long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, message.flags, &program);
		if (r != 0)
			result = r < 0 ? errno : ESRCH; // a positive number is a thread that does not take it
	}
	if (write(number, &result, sizeof(result)) < 0)
		return NULL; // the server waits in vain, and says so
	return NULL;
}

static int start(int fd) {
	pthread_t thread;
	pthread_attr_t attributes;
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int err = sem_init(&ready, 0, 0) < 0 ? errno : pthread_attr_init(&attributes);
	if (err == 0)
		err = pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	if (err == 0)
		err = pthread_create(&thread, &attributes, watch, (void *)(long)fd);
	if (err == 0)
		while (sem_wait(&ready) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err;
}
*/
import "C"

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Watch starts the thread in an init that was given a guard, and returns when it may become whoever it wants. It is called before
// libcontainer's part begins.
func Watch() {
	kind, err := unix.GetsockoptInt(Descriptor, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_DGRAM {
		return
	}
	unix.CloseOnExec(Descriptor) // the container's program does not get it
	if code := C.start(Descriptor); code != 0 {
		fmt.Fprintln(os.Stderr, "guard:", syscall.Errno(code))
		os.Exit(1)
	}
}
