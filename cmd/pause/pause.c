/*
 * pause keeps the namespaces of a sandbox alive. It is more than one program, because all of them must be small, static and
 * next to every container:
 *
 *   pause sandbox HOSTNAME [NET IPC UTS]
 *       Configures the namespaces that it was cloned into, or, when paths are given, joins those, then gives up all
 *       privileges and waits. Before it begins it reads one byte from descriptor 0: end of file means that the agent died
 *       before the sandbox was recorded, and the process ends. It answers with one byte on descriptor 1.
 *   pause hold [IPC]
 *       The same in the network and with the name of the machine, of which it configures nothing.
 *       Either is the first process of a PID namespace where it was cloned into one: then containers see it, so that it has a root
 *       directory of its own, with nothing in it, and it collects what they orphan.
 *   pause log SOCKET:SIZE:FILES:FILE
 *       Copies a container's output to its log (see log.c).
 *   pause -namespace N … start|delete
 *       Answers containerd as its shim (see shim.c).
 *
 * Exit codes from 10 on tell which step failed.
 */
#include "sys.h"

/* The kernel starts a program with the argument count and vector on its stack, and needs to be told how a signal handler
 * returns. */
#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n xor %ebp,%ebp\n mov %rsp,%rdi\n and $-16,%rsp\n call begin\n hlt\n"
        ".globl restorer\nrestorer:\n mov $15,%eax\n syscall\n");
#else
__asm__(".globl _start\n_start:\n mov x29,#0\n mov x0,sp\n and sp,x0,#-16\n bl begin\n"
        ".globl restorer\nrestorer:\n mov x8,#139\n svc 0\n");
#endif

enum { SIG_INT = 2, SIG_TERM = 15, SIG_CHLD = 17 };
enum { RDONLY = 1, NOSUID = 2, NODEV = 4, NOEXEC = 8, REC = 1 << 14, PRIVATE = 1 << 18 };
enum { NOBODY = 65534 };

static void end(int number) {
	(void)number;
	leave(0);
}

static void join(const char *path, int code) {
	long fd = sys6(__NR_openat, -100, (long)path, 02000000 /* O_CLOEXEC */, 0, 0, 0);
	if (fd < 0 || sys(__NR_setns, fd, 0, 0) < 0)
		leave(code);
	sys(__NR_close, fd, 0, 0);
}

/* A sysctl that is missing on this kernel is not worth failing for. */
static void sysctl(const char *path, const char *value) {
	long fd = sys6(__NR_openat, -100, (long)path, 02000001 /* O_WRONLY|O_CLOEXEC */, 0, 0, 0);
	if (fd < 0)
		return;
	sys(__NR_write, fd, value, length(value));
	sys(__NR_close, fd, 0, 0);
}

static void loopback_up(void) {
	struct {
		char name[16];
		short flags;
		char rest[22];
	} request = {.name = "lo"};
	long fd = sys(__NR_socket, 2 /* AF_INET */, 2 | 02000000 /* SOCK_DGRAM|SOCK_CLOEXEC */, 0);
	if (fd < 0)
		leave(13);
	if (sys(__NR_ioctl, fd, 0x8913 /* SIOCGIFFLAGS */, &request) < 0)
		leave(14);
	request.flags |= 1; /* IFF_UP */
	if (sys(__NR_ioctl, fd, 0x8914 /* SIOCSIFFLAGS */, &request) < 0)
		leave(15);
	sys(__NR_close, fd, 0, 0);
}

static void drop_privileges(void) {
	for (int cap = 0; cap < 64; cap++)
		sys(__NR_prctl, 24 /* PR_CAPBSET_DROP */, cap, 0);
	if (sys(__NR_setgroups, 0, 0, 0) < 0 || sys(__NR_setresgid, NOBODY, NOBODY, NOBODY) < 0 ||
	    sys(__NR_setresuid, NOBODY, NOBODY, NOBODY) < 0)
		leave(16);
	if (sys6(__NR_prctl, 38 /* PR_SET_NO_NEW_PRIVS */, 1, 0, 0, 0, 0) < 0)
		leave(17);
}

static int is_first(void) { return sys(__NR_getpid, 0, 0, 0) == 1; }

/* Whoever may trace processes in the namespace can go where its first one is at home: nowhere. /proc is there on every machine. */
static void enclose(void) {
	static const char here[] = ".", place[] = "/proc";
	if (sys(__NR_unshare, 0x20000 /* CLONE_NEWNS */, 0, 0) < 0 || sys6(__NR_mount, 0, (long)"/", 0, REC | PRIVATE, 0, 0) < 0 ||
	    sys6(__NR_mount, (long)"pause", (long)place, (long)"tmpfs", RDONLY | NOSUID | NODEV | NOEXEC, (long)"mode=555,size=4k,nr_inodes=1", 0) < 0)
		leave(30);
	if (sys(__NR_chdir, place, 0, 0) < 0 || sys(__NR_pivot_root, here, here, 0) < 0)
		leave(31);
	sys(__NR_prctl, 15 /* PR_SET_NAME */, "pause", 0); /* it may be executed from a file without a name */
	if (sys(__NR_umount2, here, 2 /* MNT_DETACH */, 0) < 0 || sys(__NR_chdir, "/", 0, 0) < 0)
		leave(32);
}

/* The first process of a PID namespace gets only the signals from inside that it has handlers for: then nobody in there ends it. */
static void hold(void) {
	if (!is_first()) {
		on_signal(SIG_TERM, end);
		on_signal(SIG_INT, end);
	}
	on_signal(SIG_CHLD, (void (*)(int))1 /* SIG_IGN: the kernel reaps orphans for us */);
}

static void wait_forever(void) {
	for (;;)
		sys6(__NR_ppoll, 0, 0, 0, 0, 0, 0);
}

/* Waits to be told to go, and joins what there is to join. */
static void begin_sandbox(int paths, char **path) {
	char byte;
	if (sys(__NR_read, 0, &byte, 1) != 1)
		leave(10);
	for (int i = 0; i < paths; i++)
		join(path[i], 20 + i);
}

static void configure(const char *hostname) {
	if (sys(__NR_sethostname, hostname, length(hostname), 0) < 0)
		leave(12);
	loopback_up();
	/* As container runtimes do: anybody in the sandbox may ping, and bind to low ports. */
	sysctl("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
	sysctl("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
}

static void wait_in_sandbox(void) {
	if (is_first())
		enclose();
	drop_privileges();
	hold();
	if (sys(__NR_write, 1, "r", 1) != 1)
		leave(18);
	/* Nothing of the agent's is kept open. */
	if (sys(__NR_close_range, 0, ~0U, 0) < 0)
		for (int fd = 0; fd < 1024; fd++)
			sys(__NR_close, fd, 0, 0);
	wait_forever();
}

__attribute__((used)) void begin(long *stack) {
	int argc = (int)stack[0];
	char **argv = (char **)(stack + 1);
	if (argc == 3 && same(argv[1], "log"))
		log_main(argc, argv);
	if ((argc == 3 || argc == 6) && same(argv[1], "sandbox")) {
		begin_sandbox(argc - 3, argv + 3);
		configure(argv[2]);
		wait_in_sandbox();
	}
	if ((argc == 2 || argc == 3) && same(argv[1], "hold")) {
		begin_sandbox(argc - 2, argv + 2);
		wait_in_sandbox();
	}
	if (argc > 1 && argv[1][0] == '-')
		shim_main(argc, argv);
	leave(2);
}

/* The compiler may call these by itself. */
void *memcpy(void *to, const void *from, __SIZE_TYPE__ n) {
	char *t = to;
	const char *f = from;
	while (n--)
		*t++ = *f++;
	return to;
}

void *memset(void *to, int value, __SIZE_TYPE__ n) {
	char *t = to;
	while (n--)
		*t++ = (char)value;
	return to;
}
