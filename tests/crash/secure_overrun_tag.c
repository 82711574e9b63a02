/* Goal: a block that fills its class leaves no gap, and one byte behind its end is found still.
 * Method: 8 bytes less than a class, where the tag follows at once. */
#include <stdlib.h>

int main(void)
{
	char *volatile block = malloc(128 - 8);

	block[128 - 8] ^= 1;
	free(block);
	return 0;
}
