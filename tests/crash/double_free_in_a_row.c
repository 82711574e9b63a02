/* Goal: the commonest double free, twice in a row, is found at the second call, before a thread's
 * magazine has the block twice. */
#include <stdlib.h>

int main(void)
{
	void *volatile block = malloc(64);

	free(block);
	free(block);
	return 0;
}
