/* Goal: a freed huge block is forgotten at once, even while its mapping is kept for the next. */
#include <stdlib.h>

int main(void)
{
	void *volatile block = malloc((size_t)8 << 20);

	free(block);
	free(block);
	return 0;
}
