/* A library as many are: it has a lock, and fork handlers that hold it over a fork, registered by
 * its constructor. It allocates while it holds the lock. See atfork.c. */
#include <pthread.h>
#include <stdlib.h>

void library_work(void);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void take(void)
{
	pthread_mutex_lock(&lock);
}

static void give(void)
{
	pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void start(void)
{
	pthread_atfork(take, give, give);
}

/* Sizes beyond the magazines: each call is a slow path. volatile, or the compiler leaves out what
 * nobody uses. */
void library_work(void)
{
	take();
	for (size_t size = 40000; size < 200000; size += 40000) {
		void *volatile block = malloc(size);

		free(block);
	}
	give();
}
