/* Goal: an address in the reserved part of the region, with no memory behind it yet, is refused
 * like any other that was never the allocator's, and looking it up reads no table that is not open.
 * 64 MiB above the first block nothing is. */
#include <stdlib.h>

int main(void)
{
	char *volatile block = malloc(64);

	free(block + ((size_t)64 << 20));
	return 0;
}
