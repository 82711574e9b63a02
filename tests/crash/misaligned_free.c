/* Goal: an address that no malloc returns is refused at once, by its low bits alone. */
#include <stdlib.h>

int main(void)
{
	char *volatile block = malloc(64);

	free(block + 8);
	return 0;
}
