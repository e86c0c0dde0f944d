/*
 * pause log SOCKET:SIZE:FILES:FILE: the owner of a container's output. It copies it to its log in the CRI log format
 *
 *   2006-01-02T15:04:05.000000000Z stdout F a whole line
 *   2006-01-02T15:04:05.000000000Z stderr P the first 16 KiB of a longer line
 *
 * in FILES files of SIZE bytes at most (file.c).
 *
 * It is started by the shim ("binary" logging) with the container's stdout and stderr as descriptors 3 and 4 and says that
 * it is ready on descriptor 5. It lives as long as somebody holds the other ends, whatever becomes of the agent and of
 * containerd, so that no output is lost or written twice, and a container never waits for an agent that is away.
 *
 * Who connects to SOCKET asks for what was written so far to be in the file: the connection is closed when it is.
 *
 * A disk that is full, or a log that cannot be opened, loses output; it does not stop the container, which would wait for
 * ever in a full pipe. The log has a line that says how much is missing, as soon as it can be written again; SOCKET.stat has
 * the counts of rotations and of lost bytes, once there are any.
 */
#include "file.h"

enum { OUT = 3, ERR = 4, READY = 5, LINE = 16384 };
enum { POLL_IN = 1, POLL_HUP = 16, POLL_ERR = 8 };

struct pollfd {
	int fd;
	short events, revents;
};

/* A line that is being collected, with room for its head in front and its end behind. */
struct stream {
	int fd;
	const char *name;
	int inside; /* the last record was not the end of a line */
	__SIZE_TYPE__ used;
	char text[HEAD + LINE + 1];
};

static struct stream streams[2];
static char input[8192];

/* One record, put whole, so that the two streams never mix within it. */
static void emit(struct stream *s, char tag) {
	char h[HEAD];
	__SIZE_TYPE__ n = file_head(h, s->name, tag);
	char *start = s->text + HEAD - n;
	memcpy(start, h, n);
	__SIZE_TYPE__ size = n + s->used + 1;
	start[size - 1] = '\n';
	file_put(start, size, streams[0].inside || streams[1].inside);
	s->used = 0;
	s->inside = tag == 'P';
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
	file_hurry(); /* these may be the last words */
	long client = sys6(__NR_accept4, listener, 0, 0, 02000000 /* SOCK_CLOEXEC */, 0, 0);
	for (int i = 0; i < 2; i++) {
		struct stream *s = &streams[i];
		struct pollfd one = {.fd = s->fd, .events = POLL_IN};
		while (s->fd >= 0 && ready(&one, 1, 0) > 0 && copy(s))
			;
		if (s->used > 0)
			emit(s, 'F');
	}
	file_end();
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

/* Cuts a word off at its colon, and returns what follows. */
static char *cut(char *word) {
	while (*word && *word != ':')
		word++;
	if (!*word)
		leave(2);
	*word = 0;
	return word + 1;
}

static long number(const char *s) {
	long n = 0;
	for (; digit(*s); s++)
		n = n * 10 + *s - '0';
	return *s ? 0 : n;
}

static void configure(char *socket) {
	static char stat[128];
	char *size = cut(socket), *files = cut(size), *path = cut(files);
	__SIZE_TYPE__ n = length(socket);
	if (number(size) < 1 || number(files) < 2 || n + sizeof(".stat") > sizeof(stat))
		leave(2);
	memcpy(stat, socket, n);
	memcpy(stat + n, ".stat", sizeof(".stat"));
	file_begin(path, number(size), number(files), stat);
}

void log_main(int argc, char **argv) {
	(void)argc;
	streams[0].fd = OUT, streams[0].name = "stdout";
	streams[1].fd = ERR, streams[1].name = "stderr";
	for (int number = 1; number < 32; number++) /* the end of the streams is the only end */
		if (number != 9 && number != 19 && number != 11)
			on_signal(number, (void (*)(int))1);
	configure(argv[2]);
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
	file_end();
	sys6(__NR_unlinkat, -100, (long)argv[2], 0, 0, 0, 0);
	leave(0);
}
