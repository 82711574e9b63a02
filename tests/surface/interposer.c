/* An interposer as they are written: malloc and free that count and go on to the next, which they
 * find by dlsym(3), calloc from a static buffer while that is being looked for. */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void *(*next_malloc)(size_t);
static void (*next_free)(void *);
static _Atomic unsigned long malloc_count, free_count;

static void find(const char *name, void *function)
{
	void *symbol = dlsym(RTLD_NEXT, name);

	memcpy(function, &symbol, sizeof symbol);
}

void *malloc(size_t size);
void free(void *block);

void *malloc(size_t size)
{
	if (next_malloc == NULL)
		find("malloc", &next_malloc);
	atomic_fetch_add(&malloc_count, 1);
	return next_malloc(size);
}

void free(void *block)
{
	if (next_free == NULL)
		find("free", &next_free);
	atomic_fetch_add(&free_count, 1);
	next_free(block);
}

__attribute__((destructor)) static void tell(void)
{
	char line[100];
	int bytes = snprintf(line, sizeof line, "interposed: %lu %lu\n", malloc_count, free_count);

	(void)!write(STDERR_FILENO, line, (size_t)bytes);
}
