/* Prints where blocks of one size lie, as distances from the lowest of them, and how often a block
 * that was just freed is the next to be handed out. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define COUNT 200

int main(void)
{
	uintptr_t blocks[COUNT], lowest = UINTPTR_MAX;
	unsigned same_count = 0;

	for (size_t i = 0; i < COUNT; i++) {
		blocks[i] = (uintptr_t)malloc(64);
		lowest = blocks[i] < lowest ? blocks[i] : lowest;
	}
	for (size_t i = 0; i < COUNT; i++)
		printf("%lu ", (unsigned long)(blocks[i] - lowest));
	for (size_t i = 0; i < COUNT; i++) {
		void *volatile block = malloc(64);
		uintptr_t freed = (uintptr_t)block;

		free(block);
		same_count += (uintptr_t)malloc(64) == freed;
	}
	printf("\n%u\n", same_count);
	return 0;
}
