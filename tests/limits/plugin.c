/* A library that allocates as it comes, and frees as it goes: in its constructor and destructor, in
 * what it gave to atexit(3), which runs at its dlclose(3), and in a thread's storage. */
#include <stdlib.h>
#include <string.h>

#define BLOCKS 60

static void *blocks[BLOCKS];
static void *volatile last;
static __thread void *of_thread;

void *plugin_take(size_t size);

static void free_last(void)
{
	free(last);
	last = NULL;
}

__attribute__((constructor)) static void begin(void)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = malloc(i * i * i);
		if (blocks[i] == NULL)
			abort();
		memset(blocks[i], 1, i * i * i);
	}
	last = malloc((size_t)2 << 20);
	*(volatile char *)last = 1;
	atexit(free_last);
}

__attribute__((destructor)) static void end(void)
{
	for (size_t i = 0; i < BLOCKS; i++)
		free(blocks[i]);
}

/* A block, and one more that this thread keeps until it asks again. */
void *plugin_take(size_t size)
{
	free(of_thread);
	of_thread = size != 0 ? malloc(size) : NULL;
	return malloc(size);
}
