/*
 * DIRECTORY/SERVER/containerd-shim-… -namespace N -address A … -id ID start|delete: the short answers of miniplane's shim
 * DIRECTORY/SERVER/containerd-shim-… -info: what it is
 *
 * containerd executes its shim once to start a task and once to forget it. Nearly always the answer is at hand: the server of
 * the container listens at its socket, and its address is all that "start" has to print; and there is nothing left of a
 * container whose directory is gone, so "delete" has nothing to say. In all other cases the program DIRECTORY/server,
 * which is large, takes over with the same arguments.
 *
 * DIRECTORY/run is a link to the directory of the sockets and of the containers. Which server a container belongs to is said by the
 * directory that the program is executed in, a number: the agent chose it and wrote the path into the container's record.
 *
 * containerd 2.4 asks what a shim is until it gets an answer, for each task anew.
 */
#include "sys.h"

enum { PATH = 512, SOCKET = 108 };

/* Writes a string behind what is there. False if it does not fit. */
static int add(char *to, __SIZE_TYPE__ size, const char *text) {
	__SIZE_TYPE__ used = length(to), n = length(text);
	if (used + n >= size)
		return 0;
	memcpy(to + used, text, n + 1);
	return 1;
}

static int listens(const char *path) {
	struct {
		unsigned short family;
		char path[SOCKET];
	} address = {.family = 1 /* AF_UNIX */};
	__SIZE_TYPE__ n = length(path);
	if (n >= sizeof(address.path))
		return 0;
	memcpy(address.path, path, n);
	long fd = sys(__NR_socket, 1, 1 | 02000000 /* SOCK_STREAM|SOCK_CLOEXEC */, 0);
	return fd >= 0 && sys(__NR_connect, fd, &address, sizeof(address)) == 0;
}

/* Before 2.0, containerd finds its shims again by this file in the bundle, which is the working directory. */
static int keep(const char *answer, long n) {
	long fd = sys6(__NR_openat, -100, (long)".address", 02001101 /* CLOEXEC|TRUNC|CREAT|WRONLY */, 0600, 0, 0);
	if (fd < 0 || sys(__NR_write, fd, answer, n) != n || sys(__NR_close, fd, 0, 0) < 0)
		return 0;
	return sys6(__NR_renameat2, -100, (long)".address", -100, (long)"address", 0, 0) == 0;
}

static void start(const char *run, const char *server) {
	char answer[PATH] = "unix://";
	if (!add(answer, sizeof(answer), run) || !add(answer, sizeof(answer), server) || !listens(answer + 7))
		return;
	long n = (long)length(answer);
	leave(keep(answer, n) && sys(__NR_write, 1, answer, n) == n ? 0 : 40);
}

static void delete(const char *run, const char *id) {
	char path[PATH] = "";
	if (add(path, sizeof(path), run) && add(path, sizeof(path), "/c/") && add(path, sizeof(path), id) &&
	    sys6(__NR_faccessat, -100, (long)path, 0, 0, 0, 0) == -2 /* ENOENT */)
		leave(0);
}

/* A RuntimeInfo in protobuf: field 1, the name; nothing is special about it. */
static void info(void) {
	static const char answer[] = "\x0a\x1c" "containerd-shim-miniplane-v1";
	const long n = sizeof(answer) - 1;
	leave(sys(__NR_write, 1, answer, n) == n ? 0 : 40);
}

/* Cuts a path behind its last '/'. */
static void parent(char *path) {
	__SIZE_TYPE__ n = length(path);
	while (n > 0 && path[n - 1] != '/')
		n--;
	path[n] = 0;
}

void shim_main(int argc, char **argv) {
	char directory[PATH] = "", path[PATH] = "", run[PATH] = "", server[PATH] = "";
	const char *id = "";
	if (same(argv[1], "-info"))
		info();
	for (int i = 1; i + 1 < argc; i++)
		if (same(argv[i], "-id"))
			id = argv[i + 1];
	if (!add(directory, sizeof(directory), argv[0]))
		leave(41);
	parent(directory);
	__SIZE_TYPE__ end = length(directory);
	if (end == 0)
		leave(41);
	directory[end - 1] = 0; /* now it ends with the server's number */
	parent(directory);
	__SIZE_TYPE__ begin = length(directory);
	if (begin == 0)
		leave(41);
	memcpy(server, argv[0] + begin - 1, end - begin); /* with the '/' before it */
	if (!add(path, sizeof(path), directory) || !add(path, sizeof(path), "run"))
		leave(41);
	long size = sys6(__NR_readlinkat, -100, (long)path, (long)run, sizeof(run) - 1, 0, 0);
	if (size > 0 && *id) {
		if (same(argv[argc - 1], "start"))
			start(run, server);
		if (same(argv[argc - 1], "delete"))
			delete(run, id);
	}
	if (!add(directory, sizeof(directory), "server"))
		leave(41);
	sys(__NR_execve, directory, argv, argv + argc + 1);
	leave(42);
}
