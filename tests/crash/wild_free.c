/* Goal: an address in an open SuperSlab that was never handed out is refused at once. The pool
 * takes its lowest units first, so in a program this small the last unit of the 2 MiB is free. */
#include <stdlib.h>

#define SUPERSLAB_BYTES ((size_t)2 << 20)

int main(void)
{
	char *volatile block = malloc(64);

	free(block + (SUPERSLAB_BYTES - (size_t)block % SUPERSLAB_BYTES) - 64);
	return 0;
}
