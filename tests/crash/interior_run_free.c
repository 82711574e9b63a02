/* Goal: an address in a later unit of a run, a block over 32 KiB, is refused at once. */
#include <stdlib.h>

int main(void)
{
	char *volatile block = malloc(200000);

	free(block + 16384);
	return 0;
}
