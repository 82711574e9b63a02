/* Goal: a thread whose first use of the heap comes after its last destructor leaves nothing behind.
 * Method: detached threads that only sleep, together on more stack than the C library keeps: as
 * each ends it frees the thread's storage, and some of that by free(). Had such a free given birth
 * to the thread, the heap would then hold an address in a stack that is unmapped, and look there in
 * the child of a fork. Run with libhak preloaded, so that the C library's free is ours. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 10
#define THREADS 30

static void *sleep_a_little(void *arg)
{
	usleep(2000);
	return arg;
}

int main(void)
{
	pthread_attr_t detached;
	pthread_t thread;
	int status;

	if (pthread_attr_init(&detached) != 0 ||
	    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED) != 0 ||
	    pthread_attr_setstacksize(&detached, (size_t)8 << 20) != 0)
		return 1;
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < THREADS; i++)
			if (pthread_create(&thread, &detached, sleep_a_little, NULL) != 0)
				return 1;
		usleep(20000);
		pid_t child = fork();

		if (child == 0)
			_exit(0);
		if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
			return 1;
	}
	return 0;
}
