//go:build linux && cgo

// Package compiled saves commands that are executed in a container from compiling its seccomp profile, as libcontainer does in each of them
// (10 ms for the default profile and three architectures; everything else takes less).
//
// libcontainer alone knows when the filter of a command has to be set: before the capabilities are dropped, or after. So it goes on to do that, and
// all else. Only what it asks of libseccomp is answered here, in a command that was given the result beforehand: rules are not gathered, and the
// program, which is the same for the same profile, is handed out as it once came. Where there is none, libseccomp is asked.
//
// The result is what libseccomp exports, without what libcontainer puts before it. It comes as a sealed file in memory, the first descriptor after the
// doors of a cgroup (see package guard), and is read before the command joins the container's namespaces.
package compiled

/*
#cgo pkg-config: libseccomp
#cgo LDFLAGS: -Wl,--wrap=seccomp_rule_add_array -Wl,--wrap=seccomp_rule_add_exact_array -Wl,--wrap=seccomp_export_bpf
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/vfs.h>
#include <linux/filter.h>
#include <linux/magic.h>
#include <seccomp.h>

#define NAME "miniplane-seccomp"

// given is the program of a command's filter; empty where libseccomp has to make one.
static struct {
	ssize_t size;
	char program[BPF_MAXINSNS * sizeof(struct sock_filter)];
} given;

// record is where exported programs are written too.
static int record = -1;

static void record_to(int fd) { record = fd; }

static int is_given(int fd) {
	const char *want = "/memfd:" NAME;
	char link[32], name[64] = "";
	int all = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return fcntl(fd, F_GET_SEALS) == all && readlink(link, name, sizeof(name) - 1) > 0 && strncmp(name, want, strlen(want)) == 0;
}

// take comes after the doors, and before libcontainer's constructor. The descriptor is closed by execve: closed here, its number would be given to
// another, and libcontainer thinks that it is the program's.
__attribute__((constructor(102))) static void take(void) {
	const char *type = getenv("_LIBCONTAINER_INITTYPE");
	struct statfs of;
	int fd = 3;
	if (type == NULL || strcmp(type, "setns") != 0)
		return;
	while (fstatfs(fd, &of) == 0 && of.f_type == CGROUP_SUPER_MAGIC)
		fd++;
	if (!is_given(fd))
		return;
	ssize_t n = pread(fd, given.program, sizeof(given.program), 0);
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && n > 0)
		given.size = n;
}

int __real_seccomp_rule_add_array(scmp_filter_ctx, uint32_t, int, unsigned int, const struct scmp_arg_cmp *);
int __real_seccomp_rule_add_exact_array(scmp_filter_ctx, uint32_t, int, unsigned int, const struct scmp_arg_cmp *);
int __real_seccomp_export_bpf(const scmp_filter_ctx, int);

int __wrap_seccomp_rule_add_array(scmp_filter_ctx filter, uint32_t action, int call, unsigned int n, const struct scmp_arg_cmp *args) {
	return given.size > 0 ? 0 : __real_seccomp_rule_add_array(filter, action, call, n, args);
}

int __wrap_seccomp_rule_add_exact_array(scmp_filter_ctx filter, uint32_t action, int call, unsigned int n, const struct scmp_arg_cmp *args) {
	return given.size > 0 ? 0 : __real_seccomp_rule_add_exact_array(filter, action, call, n, args);
}

int __wrap_seccomp_export_bpf(const scmp_filter_ctx filter, int fd) {
	if (given.size == 0) {
		int err = record < 0 ? 0 : __real_seccomp_export_bpf(filter, record);
		return err < 0 ? err : __real_seccomp_export_bpf(filter, fd);
	}
	for (ssize_t done = 0; done < given.size;) {
		ssize_t n = write(fd, given.program + done, given.size - done);
		if (n < 0 && errno != EINTR)
			return -errno;
		done += n < 0 ? 0 : n;
	}
	return 0;
}
*/
import "C"

import (
	"os"

	"miniplane.dev/miniplane/nodeagent/sealed"
)

const name = "miniplane-seccomp"

// Record has programs that libseccomp exports in this process written to a file as well.
func Record(to *os.File) { C.record_to(C.int(to.Fd())) }

// File has an exported program, for commands to be given as the last of their additional descriptors.
func File(program []byte) (*os.File, error) { return sealed.File(name, program) }
