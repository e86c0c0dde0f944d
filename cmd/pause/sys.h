/* The few system calls that pause needs, without a C library: the program stays at a few pages of memory per process. */
#ifndef SYS_H
#define SYS_H

#include <asm/unistd.h>
#include <linux/types.h>

#if defined(__x86_64__)
static inline long sys6(long n, long a, long b, long c, long d, long e, long f) {
	long ret;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall" : "=a"(ret) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
	                 : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
static inline long sys6(long n, long a, long b, long c, long d, long e, long f) {
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
#else
#error "pause is written for x86_64 and aarch64"
#endif

#define SA_RESTORER 0x04000000

#define sys(n, a, b, c) sys6(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)

struct action {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	unsigned long mask;
};

void restorer(void);
void *memcpy(void *, const void *, __SIZE_TYPE__);
void log_main(int argc, char **argv);
void shim_main(int argc, char **argv);

static inline void leave(int code) {
	for (;;)
		sys(__NR_exit_group, code, 0, 0);
}

static inline void on_signal(int number, void (*handler)(int)) {
	struct action act = {.handler = handler, .flags = SA_RESTORER, .restorer = restorer};
	sys6(__NR_rt_sigaction, number, (long)&act, 0, sizeof(act.mask), 0, 0);
}

static inline __SIZE_TYPE__ length(const char *s) {
	__SIZE_TYPE__ n = 0;
	while (s[n])
		n++;
	return n;
}

static inline int same(const char *a, const char *b) {
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

#endif
