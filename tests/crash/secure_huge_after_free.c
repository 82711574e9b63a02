/* Goal: a huge block is gone with its free. Method: one byte is read. */
#include <stdlib.h>

int main(void)
{
	char *volatile block = malloc(5000000);

	free(block);
	return block[1000000];
}
