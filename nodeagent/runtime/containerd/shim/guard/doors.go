//go:build linux && cgo

package guard

/*
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/vfs.h>
#include <linux/magic.h>

// is_door tells a door from other descriptors: it is a cgroup's file, and came by execve.
static int is_door(int fd) {
	struct statfs of;
	int flags = fcntl(fd, F_GETFD);
	return flags >= 0 && !(flags & FD_CLOEXEC) && fstatfs(fd, &of) == 0 && of.f_type == CGROUP_SUPER_MAGIC;
}

// enter goes through the doors that a command was given which is to run in a container (see package cgroup). It comes before libcontainer's
// constructor, which joins the container's namespaces: whoever is seen in there is in the cgroup, for the container's processes
// may stop it at any moment, and it would stand where it is.
//
// At this point the process is one thread, and all that it becomes is born in the cgroup. The doors are closed by execve: closed here, their
// numbers would be given to others, and libcontainer thinks that these are the program's.
__attribute__((constructor(101))) static void enter(void) {
	const char *type = getenv("_LIBCONTAINER_INITTYPE"), *pipe = getenv("_LIBCONTAINER_LOGPIPE");
	if (type == NULL || strcmp(type, "setns") != 0)
		return;
	for (int fd = 3; is_door(fd); fd++) { // see Descriptor
		// "0" is the thread that writes. For any other number the kernel would need a lock.
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && write(fd, "0", 1) == 1)
			continue;
		dprintf(pipe ? atoi(pipe) : 2, "{\"level\":\"error\", \"msg\":\"enter a cgroup of the container: %s\"}\n", strerror(errno));
		_exit(1);
	}
}
*/
import "C"
