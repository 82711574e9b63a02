/* Goal: realloc refuses a freed run in its own name. */
#include <stdlib.h>

int main(void)
{
	void *volatile block = malloc(200000);

	free(block);
	block = realloc(block, 300000);
	return 0;
}
