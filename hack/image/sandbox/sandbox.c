/* The first process of a native Pod: it holds the namespaces, reaps orphans, and ends when told. */
#include <signal.h>
#include <unistd.h>

static void end(int number) {
	(void)number;
	_exit(0);
}

int main(void) {
	signal(SIGINT, end);
	signal(SIGTERM, end);
	signal(SIGCHLD, SIG_IGN); /* the kernel reaps */
	for (;;)
		pause();
}
