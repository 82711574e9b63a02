/* Goal: a signal handler that calls malloc while it interrupts a slow path of malloc or free ends
 * the program, before it waits for a lock that its own thread holds. Runs are slow paths, all of
 * them. A timer of processor time strikes; where nothing is found the alarm ends it, be it a loop
 * or a deadlock. */
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

#define RUN_BYTES 100000

static void allocate(int signal_number)
{
	(void)signal_number;
	free(malloc(RUN_BYTES));
}

int main(void)
{
	struct itimerval every = {{0, 1000}, {0, 1000}};
	struct sigaction action = {.sa_handler = allocate};

	free(malloc(RUN_BYTES)); /* the thread's birth is over when the first signal comes */
	sigaction(SIGPROF, &action, NULL);
	setitimer(ITIMER_PROF, &every, NULL);
	alarm(5);
	for (;;)
		free(malloc(RUN_BYTES));
}
