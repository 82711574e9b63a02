/* hit_path.c - malloc and free on their hit path, as often as the caller says.
 *
 * `hit_path SIZE PAIRS` fills the thread's magazine for SIZE, then makes PAIRS times malloc(SIZE)
 * and free. hit_path.py runs it twice under callgrind with different PAIRS; all that the two runs
 * have in common, the loader, the warm-up, the first magazine, cancels in the difference.
 */
#include <stdio.h>
#include <stdlib.h>

/* A magazine starts with 8 slots. Half of that leaves it neither empty nor full, so each later
 * malloc finds a block and each later free finds room. */
#define WARM_BLOCKS 4

static void *take(size_t size)
{
	void *block = malloc(size);

	if (block == NULL) {
		fputs("hit_path: malloc returned NULL\n", stderr);
		exit(1);
	}
	/* Keeps the compiler from dropping a pair of calls whose block nobody looks at. */
	__asm__ volatile("" : : "r"(block) : "memory");
	return block;
}

int main(int argc, char **argv)
{
	void *warm[WARM_BLOCKS];

	if (argc != 3) {
		fputs("usage: hit_path SIZE PAIRS\n", stderr);
		return 2;
	}

	size_t size = strtoul(argv[1], NULL, 10);
	unsigned long pairs = strtoul(argv[2], NULL, 10);

	for (int i = 0; i < WARM_BLOCKS; i++)
		warm[i] = take(size);
	for (int i = 0; i < WARM_BLOCKS; i++)
		free(warm[i]);
	for (unsigned long i = 0; i < pairs; i++)
		free(take(size));
	return 0;
}
