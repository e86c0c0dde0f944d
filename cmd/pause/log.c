/*
 * pause log SOCKET:FILE: a container's output, copied to its log in the CRI log format
 *
 *   2006-01-02T15:04:05.000000000Z stdout F a whole line
 *   2006-01-02T15:04:05.000000000Z stderr P the first 16 KiB of a longer line
 *
 * It is started by the shim ("binary" logging) with the container's stdout and stderr as descriptors 3 and 4 and says that
 * it is ready on descriptor 5. It lives as long as somebody holds the other ends, whatever becomes of the agent and of
 * containerd, so that no output is lost or written twice, and a container never waits for an agent that is away.
 *
 * Who connects to SOCKET asks for what was written so far to be in the file: the connection is closed when it is. A full
 * disk loses output; it does not stop the container.
 */
#include "sys.h"

enum { OUT = 3, ERR = 4, READY = 5, LINE = 16384, HEAD = 64 };
enum { POLL_IN = 1, POLL_HUP = 16, POLL_ERR = 8 };

struct pollfd {
	int fd;
	short events, revents;
};

/* A line that is being collected, with room for its head in front and its end behind. */
struct stream {
	int fd;
	const char *name;
	__SIZE_TYPE__ used;
	char text[HEAD + LINE + 1];
};

static struct stream streams[2];
static char input[8192];
static int file;

static char *digits(char *to, long value, int width) {
	for (int i = width - 1; i >= 0; i--, value /= 10)
		to[i] = (char)('0' + value % 10);
	return to + width;
}

/* The civil date of a count of days since 1970, in years that begin in March so that the leap day is their last. */
static char *date(char *to, long days) {
	days += 719468;
	long era = days / 146097, day = days % 146097;
	long year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	day -= 365 * year + year / 4 - year / 100;
	long month = (5 * day + 2) / 153;
	long of_month = day - (153 * month + 2) / 5 + 1;
	month += month < 10 ? 3 : -9;
	to = digits(to, year + era * 400 + (month <= 2), 4);
	*to++ = '-';
	to = digits(to, month, 2);
	*to++ = '-';
	return digits(to, of_month, 2);
}

static __SIZE_TYPE__ head(char *to, const char *name, char tag) {
	long now[2];
	char *p = to;
	sys(__NR_clock_gettime, 0 /* CLOCK_REALTIME */, now, 0);
	p = date(p, now[0] / 86400);
	*p++ = 'T';
	p = digits(p, now[0] % 86400 / 3600, 2);
	*p++ = ':';
	p = digits(p, now[0] % 3600 / 60, 2);
	*p++ = ':';
	p = digits(p, now[0] % 60, 2);
	*p++ = '.';
	p = digits(p, now[1], 9);
	*p++ = 'Z';
	*p++ = ' ';
	while (*name)
		*p++ = *name++;
	*p++ = ' ';
	*p++ = tag;
	*p++ = ' ';
	return (__SIZE_TYPE__)(p - to);
}

/* One write per line, appended, so that the two streams never mix within a line. */
static void emit(struct stream *s, char tag) {
	char h[HEAD];
	__SIZE_TYPE__ n = head(h, s->name, tag);
	char *start = s->text + HEAD - n;
	for (__SIZE_TYPE__ i = 0; i < n; i++)
		start[i] = h[i];
	__SIZE_TYPE__ size = n + s->used + 1;
	start[size - 1] = '\n';
	while (size > 0) {
		long wrote = sys(__NR_write, file, start, size);
		if (wrote <= 0)
			break;
		start += wrote;
		size -= (__SIZE_TYPE__)wrote;
	}
	s->used = 0;
}

static void take(struct stream *s, const char *data, __SIZE_TYPE__ n) {
	for (__SIZE_TYPE__ i = 0; i < n; i++) {
		if (data[i] == '\n') {
			emit(s, 'F');
			continue;
		}
		if (s->used == LINE)
			emit(s, 'P');
		s->text[HEAD + s->used++] = data[i];
	}
}

/* Reads once. False at the end of the stream. */
static int copy(struct stream *s) {
	long n = sys(__NR_read, s->fd, input, sizeof(input));
	if (n == -4 /* EINTR */)
		return 1;
	if (n <= 0) {
		if (s->used > 0)
			emit(s, 'F');
		sys(__NR_close, s->fd, 0, 0);
		s->fd = -1;
		return 0;
	}
	take(s, input, (__SIZE_TYPE__)n);
	return 1;
}

static short ready(struct pollfd *fds, int n, int wait) {
	long zero[2] = {0, 0};
	return (short)sys6(__NR_ppoll, (long)fds, n, (long)(wait ? 0 : zero), 0, 8, 0);
}

/* Everything that is in the pipes now, and the beginnings of lines: whoever asks knows that the container ended. */
static void flush(int listener) {
	long client = sys6(__NR_accept4, listener, 0, 0, 02000000 /* SOCK_CLOEXEC */, 0, 0);
	for (int i = 0; i < 2; i++) {
		struct stream *s = &streams[i];
		struct pollfd one = {.fd = s->fd, .events = POLL_IN};
		while (s->fd >= 0 && ready(&one, 1, 0) > 0 && copy(s))
			;
		if (s->used > 0)
			emit(s, 'F');
	}
	if (client >= 0)
		sys(__NR_close, client, 0, 0);
}

static int listen_at(const char *path) {
	struct {
		unsigned short family;
		char path[108];
	} address = {.family = 1 /* AF_UNIX */};
	__SIZE_TYPE__ n = length(path);
	if (n >= sizeof(address.path))
		leave(30);
	memcpy(address.path, path, n);
	long fd = sys(__NR_socket, 1, 1 | 02000000 /* SOCK_STREAM|SOCK_CLOEXEC */, 0);
	sys6(__NR_unlinkat, -100, (long)path, 0, 0, 0, 0);
	if (fd < 0 || sys(__NR_bind, fd, &address, sizeof(address)) < 0 || sys(__NR_listen, fd, 4, 0) < 0)
		leave(31);
	return (int)fd;
}

void log_main(int argc, char **argv) {
	char *path = argv[2];
	(void)argc;
	while (*path && *path != ':')
		path++;
	if (!*path)
		leave(2);
	*path++ = 0;
	streams[0].fd = OUT, streams[0].name = "stdout";
	streams[1].fd = ERR, streams[1].name = "stderr";
	for (int number = 1; number < 32; number++) /* the end of the streams is the only end */
		if (number != 9 && number != 19 && number != 11)
			on_signal(number, (void (*)(int))1);
	file = (int)sys6(__NR_openat, -100, (long)path, 02000000 | 02000 | 0100 | 1 /* CLOEXEC|APPEND|CREAT|WRONLY */, 0640, 0, 0);
	if (file < 0)
		leave(32);
	int listener = listen_at(argv[2]);
	if (sys(__NR_write, READY, "r", 1) != 1)
		leave(33);
	sys(__NR_close, READY, 0, 0);
	while (streams[0].fd >= 0 || streams[1].fd >= 0) {
		struct pollfd fds[3] = {{.fd = streams[0].fd, .events = POLL_IN}, {.fd = streams[1].fd, .events = POLL_IN},
		                        {.fd = listener, .events = POLL_IN}};
		if (ready(fds, 3, 1) <= 0)
			continue;
		for (int i = 0; i < 2; i++)
			if (fds[i].revents & (POLL_IN | POLL_HUP | POLL_ERR))
				copy(&streams[i]);
		if (fds[2].revents)
			flush(listener);
	}
	sys6(__NR_unlinkat, -100, (long)argv[2], 0, 0, 0, 0);
	leave(0);
}
