/* Goal: a run is known to be free as soon as it is freed. */
#include <stdlib.h>

int main(void)
{
	void *volatile block = malloc(200000);

	free(block);
	free(block);
	return 0;
}
