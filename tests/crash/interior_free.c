/* Goal: an aligned address inside a small block is found when the magazine that took it is flushed
 * to the slab, which knows where blocks begin. The frees before it fill the depot of the class,
 * where a batch could lie unread; the frees behind it push it out of the magazine. */
#include <stdlib.h>

#define BLOCK_COUNT 20000

static char *volatile blocks[BLOCK_COUNT];

int main(void)
{
	for (int i = 0; i < BLOCK_COUNT; i++)
		blocks[i] = malloc(64);
	for (int i = 0; i < BLOCK_COUNT; i += 2) {
		if (i == BLOCK_COUNT / 2)
			free(blocks[1] + 16);
		free(blocks[i]);
	}
	return 0;
}
