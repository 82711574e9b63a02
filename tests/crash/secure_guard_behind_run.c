/* Goal: writing on and on behind a run meets a unit without access. Method: just that. */
#include <stdlib.h>

int main(void)
{
	char *volatile block = malloc(100000);

	for (size_t i = 0; i < 200000; i++)
		block[i] = 1;
	free(block);
	return 0;
}
