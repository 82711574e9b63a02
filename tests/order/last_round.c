/* Goal: threads that first come to the heap when no destructor is called any more end without ours;
 * who looks at all threads afterwards, a fork's child or statistics, does not look at what is gone,
 * and their records serve others.
 *
 * Method: a destructor that asks for itself until the last round, and takes and frees a block
 * there. The threads have stacks so large that the C library unmaps them, and with them what was
 * theirs. Preloaded.
 */
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK_BYTES ((size_t)64 << 20) /* more than the C library keeps */
#define THREADS_FIRST 300
#define THREADS_MORE 3000
/* A record is 5 KiB, and what is lost by intention a few blocks for each thread. */
#define GROWTH_KIB_MAX 1024

static pthread_key_t key;
static __thread int round_count;

static void come_in_the_last_round(void *value)
{
	void *volatile block;

	if (++round_count < PTHREAD_DESTRUCTOR_ITERATIONS) {
		pthread_setspecific(key, value);
		return;
	}
	block = malloc(8);
	free(block);
}

static void *run(void *unused)
{
	pthread_setspecific(key, &key);
	return unused;
}

static int run_threads(int count)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	for (int i = 0; i < count; i++)
		if (pthread_create(&thread, &attributes, run, NULL) != 0 ||
		    pthread_join(thread, NULL) != 0)
			return 1;
	return 0;
}

static long resident_kib(void)
{
	long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	if (file == NULL || fscanf(file, "%*d %ld", &pages) != 1)
		return -1;
	fclose(file);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static int fork_and_use(void)
{
	int status = 1;
	pid_t pid = fork();

	if (pid == 0) {
		void *volatile block = malloc(8);

		free(block);
		_exit(run_threads(1));
	}
	return pid < 0 || waitpid(pid, &status, 0) != pid || status != 0;
}

int main(void)
{
	long before, after;

	if (pthread_key_create(&key, come_in_the_last_round) != 0 || run_threads(1) != 0 ||
	    fork_and_use() != 0) {
		puts("a child of a process in which such a thread ended fails");
		return 1;
	}
	if (run_threads(1) != 0 || mallinfo2().uordblks == 0) {
		puts("mallinfo2() says nothing");
		return 1;
	}
	if (run_threads(THREADS_FIRST) != 0)
		return 1;
	before = resident_kib();
	if (run_threads(THREADS_MORE) != 0 || fork_and_use() != 0)
		return 1;
	after = resident_kib();
	printf("%d threads: %ld to %ld KiB\n", THREADS_MORE, before, after);
	return before < 0 || after - before > GROWTH_KIB_MAX;
}
