/* Goal: one byte behind the end is found when the block is freed, whatever the class rounds to.
 * Method: sizes that leave a gap, and one that leaves none but the tag; each in a child would be
 * the same: the first is enough, the rest come before it within their ends. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
	for (size_t size = 1; size < 3000000; size = size * 5 / 4 + 1) {
		char *volatile block = malloc(size);

		memset(block, 0xff, size);
		free(block);
	}
	char *volatile block = malloc(100);

	block[100] ^= 1;
	free(block);
	return 0;
}
