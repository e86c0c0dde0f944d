/*
 * The file of a container's log, which is put aside before it grows too large. Who writes does that, and not the agent, because
 * it knows where a record ends.
 *
 * FILE becomes FILE.20060102-150405, as a kubelet calls it, and a new one begins. What is too old goes first: at most
 * FILES - 1 such names stay in the directory, and the names of earlier attempts (0.log.…, 1.log.…) count too, so that a
 * container that starts again and again has no more than one that does not.
 *
 * No record is cut: what could be written of one only in part is taken off again. A line of several records is kept in one
 * file when that makes it a quarter too large at most.
 *
 * When the log cannot be written, records are counted and dropped. The log says how much is missing as soon as it can.
 */
#include "file.h"

enum { STAMP = 15, NAME = 256, NUMBER = 20 };
enum { AT_CWD = -100, CLOEXEC = 02000000, APPEND = 02000, CREAT = 0100, WRONLY = 1 };
enum { NO_ENTRY = -2, IO_ERROR = -5, NO_SPACE = -28, READ_ONLY = -30, OVER_QUOTA = -122 };

/* The log. */
static struct {
	int fd;    /* -1 while it cannot be opened */
	int begun; /* it was open once */
	char *path, *name; /* name is the last part of path */
	long size, most, files;
	long last;         /* second of the last rotated file's name */
	long again;        /* after trouble, the second at which to try again */
	unsigned long missing; /* bytes lost that the log does not tell of yet */
} file = {.fd = -1};

static const char *counts;
static unsigned long rotations, lost;

static char *digits(char *to, long value, int width) {
	for (int i = width - 1; i >= 0; i--, value /= 10)
		to[i] = (char)('0' + value % 10);
	return to + width;
}

static char *text(char *to, const char *from) {
	while (*from)
		*to++ = *from++;
	return to;
}

/* The civil date of a count of days since 1970, in years that begin in March so that the leap day is their last. */
static char *date(char *to, long days, const char *between) {
	days += 719468;
	long era = days / 146097, day = days % 146097;
	long year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	day -= 365 * year + year / 4 - year / 100;
	long month = (5 * day + 2) / 153;
	long of_month = day - (153 * month + 2) / 5 + 1;
	month += month < 10 ? 3 : -9;
	to = text(digits(to, year + era * 400 + (month <= 2), 4), between);
	to = text(digits(to, month, 2), between);
	return digits(to, of_month, 2);
}

static char *clock(char *to, long second, const char *between) {
	to = text(digits(to, second / 3600, 2), between);
	to = text(digits(to, second % 3600 / 60, 2), between);
	return digits(to, second % 60, 2);
}

static long seconds(int of_clock, long *nanoseconds) {
	long now[2];
	sys(__NR_clock_gettime, of_clock, now, 0);
	if (nanoseconds)
		*nanoseconds = now[1];
	return now[0];
}

__SIZE_TYPE__ file_head(char *to, const char *name, char tag) {
	long nanoseconds, now = seconds(0 /* CLOCK_REALTIME */, &nanoseconds);
	char *p = date(to, now / 86400, "-");
	*p++ = 'T';
	p = clock(p, now % 86400, ":");
	*p++ = '.';
	p = digits(p, nanoseconds, 9);
	*p++ = 'Z';
	*p++ = ' ';
	p = text(p, name);
	*p++ = ' ';
	*p++ = tag;
	*p++ = ' ';
	return (__SIZE_TYPE__)(p - to);
}

/* What the agent counts. It is in memory, and there only when there is something to tell. */
static void tell(void) {
	char line[2 * NUMBER + 2];
	char *p = digits(line, (long)rotations, NUMBER);
	*p++ = ' ';
	p = digits(p, (long)lost, NUMBER);
	*p = '\n';
	long fd = sys6(__NR_openat, AT_CWD, (long)counts, CLOEXEC | CREAT | WRONLY, 0600, 0, 0);
	if (fd < 0)
		return;
	sys(__NR_write, fd, line, sizeof(line));
	sys(__NR_close, fd, 0, 0);
}

/* Appends a whole record or nothing. */
static int append(const char *record, __SIZE_TYPE__ n) {
	__SIZE_TYPE__ done = 0;
	while (done < n) {
		long wrote = sys(__NR_write, file.fd, record + done, n - done);
		if (wrote == -4 /* EINTR */)
			continue;
		if (wrote <= 0)
			break;
		done += (__SIZE_TYPE__)wrote;
	}
	if (done == n) {
		file.size += (long)n;
		return 1;
	}
	if (done > 0) /* the beginning of a record would swallow the next one */
		sys(__NR_ftruncate, file.fd, sys(__NR_lseek, file.fd, 0, 2 /* SEEK_END */) - (long)done, 0);
	return 0;
}

/* Opens the log, and makes its directory and the one above where they are missing: who should have may have met a full
 * disk. */
static long open_file(void) {
	long fd = sys6(__NR_openat, AT_CWD, (long)file.path, CLOEXEC | APPEND | CREAT | WRONLY, 0640, 0, 0);
	if (fd == NO_ENTRY && !file.begun) { /* later it is missing because the MiniPod is gone */
		char *end = file.name;
		for (int i = 0; i < 2 && end > file.path; i++)
			for (end--; end > file.path && *end != '/'; end--)
				;
		for (; end && end < file.name; end++)
			if (*end == '/' && end > file.path) {
				*end = 0;
				sys6(__NR_mkdirat, AT_CWD, (long)file.path, 0750, 0, 0, 0);
				*end = '/';
			}
		fd = sys6(__NR_openat, AT_CWD, (long)file.path, CLOEXEC | APPEND | CREAT | WRONLY, 0640, 0, 0);
	}
	if (fd < 0)
		return fd;
	file.fd = (int)fd, file.begun = 1;
	file.size = sys(__NR_lseek, fd, 0, 2 /* SEEK_END */);
	return 0;
}

/* Whether the first n characters are the log of some attempt, as in "12.log". */
static int numbered(const char *s, __SIZE_TYPE__ n) {
	__SIZE_TYPE__ i = 0;
	while (i < n && digit(s[i]))
		i++;
	return i > 0 && n - i == 4 && s[i] == '.' && s[i + 1] == 'l' && s[i + 2] == 'o' && s[i + 3] == 'g';
}

/* Whether it is the name of a file that rotation left: of this log, or of another attempt of the same container. */
static int rotated(const char *s) {
	__SIZE_TYPE__ n = length(s), mine = length(file.name);
	if (n < STAMP + 2)
		return 0;
	const char *stamp = s + n - STAMP;
	for (int i = 0; i < STAMP; i++)
		if (i == 8 ? stamp[i] != '-' : !digit(stamp[i]))
			return 0;
	n -= STAMP + 1;
	if (stamp[-1] != '.')
		return 0;
	if (numbered(file.name, mine) && numbered(s, n))
		return 1;
	for (__SIZE_TYPE__ i = 0; i < n; i++)
		if (n != mine || s[i] != file.name[i])
			return 0;
	return 1;
}

/* Lower attempts are older, then earlier times; all stamps are of one length. */
static int older(const char *a, const char *b) {
	__SIZE_TYPE__ n = length(a), m = length(b);
	if (n != m)
		return n < m;
	while (*a && *a == *b)
		a++, b++;
	return *a < *b;
}

struct entry {
	unsigned long inode;
	long offset;
	unsigned short size;
	unsigned char type;
	char name[];
};

/* The oldest file that rotation left, and how many there are. */
static int oldest(int directory, char *name) {
	static char entries[2048] __attribute__((aligned(8)));
	int count = 0;
	sys(__NR_lseek, directory, 0, 0);
	for (;;) {
		long n = sys(__NR_getdents64, directory, entries, sizeof(entries));
		if (n <= 0)
			return count;
		struct entry *e;
		for (long at = 0; at < n; at += e->size) {
			e = (struct entry *)(entries + at);
			if (!rotated(e->name) || length(e->name) >= NAME)
				continue;
			if (count++ == 0 || older(e->name, name))
				memcpy(name, e->name, length(e->name) + 1);
		}
	}
}

/* Removes the oldest until no more than that many are left. */
static void trim(int directory, long keep) {
	char name[NAME];
	while (oldest(directory, name) > keep)
		if (sys(__NR_unlinkat, directory, name, 0) < 0)
			return;
}

/* The name of a rotated file. Several in one second are called after the seconds that follow, so that names keep their order, also
 * when the clock is set back. */
static int stamp(int directory, char *to) {
	if (length(file.name) + 1 + STAMP >= NAME)
		return 0;
	char *p = text(to, file.name);
	*p++ = '.';
	long now = seconds(0 /* CLOCK_REALTIME */, 0);
	file.last = now > file.last ? now : file.last + 1;
	do {
		char *q = date(p, file.last / 86400, "");
		*q++ = '-';
		q = clock(q, file.last % 86400, "");
		*q = 0;
	} while (sys6(__NR_faccessat, directory, (long)to, 0, 0, 0, 0) != NO_ENTRY && ++file.last < now + 86400);
	return 1;
}

/* Puts the file aside and begins a new one. What is too old goes first, because the disk may be full. */
static int rotate(void) {
	char name[NAME], *slash = file.name - 1;
	if (slash < file.path)
		return 0;
	*slash = 0;
	long directory = sys6(__NR_openat, AT_CWD, (long)file.path, CLOEXEC | 0200000 /* O_DIRECTORY */, 0, 0, 0);
	*slash = '/';
	if (directory < 0)
		return 0;
	trim((int)directory, file.files - 2);
	int done = stamp((int)directory, name) && sys6(__NR_renameat2, directory, (long)file.name, directory, (long)name, 0, 0) == 0;
	sys(__NR_close, directory, 0, 0);
	if (!done)
		return 0;
	sys(__NR_close, file.fd, 0, 0);
	file.fd = -1;
	rotations++;
	tell();
	return 1;
}

/* Makes room for a record, or tells that there is none. */
static int room(__SIZE_TYPE__ n, int inside) {
	long after = file.size + (long)n;
	if (file.fd >= 0 && file.size > 0 && after > file.most && (!inside || after > file.most + file.most / 4) && !rotate())
		return 0;
	return file.fd >= 0 || open_file() == 0;
}

/* Says in the log how much of the output it lacks. */
static int confess(void) {
	char line[HEAD + 128];
	__SIZE_TYPE__ n = file_head(line, "stderr", 'F');
	char *p = text(line + n, "miniplane: "), number[NUMBER + 1], *first = number;
	*digits(number, (long)file.missing, NUMBER) = 0;
	while (*first == '0')
		first++;
	p = text(text(p, first), " bytes of output are missing here: the log could not be written, its disk may be full\n");
	if (!append(line, (__SIZE_TYPE__)(p - line)))
		return 0;
	file.missing = 0;
	return 1;
}

/* After trouble nothing is tried for a second, so that the pipes are drained as fast as they fill. */
void file_put(const char *record, __SIZE_TYPE__ n, int inside) {
	if (!file.again || seconds(1 /* CLOCK_MONOTONIC */, 0) >= file.again) {
		if (file.again && lost)
			tell();
		file.again = 0;
		if (room(n, inside) && (!file.missing || confess()) && append(record, n))
			return;
		file.again = seconds(1, 0) + 1;
	}
	file.missing += n;
	lost += n;
}

void file_hurry(void) { file.again = 0; }

void file_begin(char *path, long most, long files, const char *stat) {
	file.path = file.name = path, file.most = most, file.files = files;
	for (char *p = path; *p; p++)
		if (*p == '/')
			file.name = p + 1;
	counts = stat;
	long err = open_file();
	if (err < 0 && err != NO_SPACE && err != OVER_QUOTA && err != READ_ONLY && err != IO_ERROR)
		leave(32);
}

void file_end(void) {
	if (file.missing > 0 && room(0, 0))
		confess();
	if (lost > 0)
		tell();
}
