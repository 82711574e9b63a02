/* Goal: realloc finds it as well, before it copies. Method: a run, written to behind its end. */
#include <stdlib.h>

int main(void)
{
	char *volatile block = malloc(50000);

	block[50007] ^= 1;
	block = realloc(block, 200000);
	return 0;
}
