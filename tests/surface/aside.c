/* Says whose malloc serves it: prints "ours" where the blocks of every kind lie in libhak's region
 * or are known to its walk, and no more once they are free, "theirs" where none of them does;
 * anything mixed is a failure. libhak is found by dlsym(3), since it may not be there. */
#include <dlfcn.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct block {
	void *address;
	size_t bytes;
};

static void *blocks[] = {NULL, NULL, NULL, NULL, NULL};
static unsigned known_count;

static int look(const struct block *block, void *context)
{
	(void)context;
	for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
		if (blocks[i] == block->address)
			known_count++;
	return 0;
}

int main(void)
{
	int (*walk)(int (*)(const struct block *, void *), void *) = NULL;
	void *symbol = dlsym(RTLD_DEFAULT, "hak_heap_walk");

	memcpy(&walk, &symbol, sizeof walk);
	blocks[0] = malloc(100);
	blocks[1] = calloc(300, 200);
	blocks[2] = realloc(malloc(10), 3000000);
	blocks[3] = aligned_alloc(4096, 8192);
	blocks[4] = strdup("as the C library allocates");
	if (walk != NULL && walk(look, NULL) != 0)
		return 1;
	for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
		if (malloc_usable_size(blocks[i]) == 0)
			return 1;
		free(blocks[i]);
	}
	if (known_count == 5) {
		known_count = 0;
		walk(look, NULL);
		if (known_count != 0)
			return 2; /* what is free lies in some cache, and is shown still */
		known_count = 5;
	}
	puts(known_count == 5 ? "ours" : known_count == 0 ? "theirs" : "mixed");
	return 0;
}
