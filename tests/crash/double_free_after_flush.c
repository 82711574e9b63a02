/* Goal: a double free with thousands of other frees between is found when the block's bit is set
 * for the second time. Every second block stays allocated, so that no slab empties and goes back to
 * the pool: there the block would no longer be known as one of 64 bytes. */
#include <stdlib.h>

#define BLOCK_COUNT 20000

static void *volatile blocks[BLOCK_COUNT];

int main(void)
{
	for (int i = 0; i < BLOCK_COUNT; i++)
		blocks[i] = malloc(64);
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < BLOCK_COUNT; i += 2)
			free(blocks[i]);
	return 0;
}
