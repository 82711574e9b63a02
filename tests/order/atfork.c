/* Goal: a fork meets no deadlock with a library that locks in its own fork handlers.
 * Method: one thread is always inside the library, which allocates under its lock; the main thread
 * forks. Should libhak's prepare handler run before the library's, the fork waits for the lock and
 * its holder for the gate, for ever. Run with libhak preloaded, since then the library is
 * initialised before an ordinary preloaded one, and with libhak.a, whose constructor would come
 * after the library's. Ends with 0, or by SIGALRM. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define FORKS 1000

void library_work(void);

static _Atomic bool is_over;

static void *work(void *arg)
{
	while (!atomic_load(&is_over))
		library_work();
	return arg;
}

int main(void)
{
	void *volatile block = malloc(1); /* or an archive would not be linked */
	pthread_t thread;
	int status;

	free(block);
	alarm(30);
	if (pthread_create(&thread, NULL, work, NULL) != 0)
		return 1;
	for (int i = 0; i < FORKS; i++) {
		pid_t child = fork();

		if (child == 0) {
			library_work();
			_exit(0);
		}
		if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
			return 1;
	}
	atomic_store(&is_over, true);
	return pthread_join(thread, NULL);
}
