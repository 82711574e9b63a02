/* Goal: who writes to a block after its free is found when the block is handed out again. Method:
 * enough blocks of the class to bring it back out of the quarantine. */
#include <stdlib.h>

static char *volatile blocks[5000];

int main(void)
{
	char *volatile block = malloc(200);

	free(block);
	block[17] = 1;
	for (int round = 0; round < 50; round++) {
		for (size_t i = 0; i < 5000; i++)
			blocks[i] = malloc(200);
		for (size_t i = 0; i < 5000; i++)
			free(blocks[i]);
	}
	return 0;
}
