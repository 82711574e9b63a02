/* Goal: a free inside a small block is found at once. Method: nothing but that free. */
#include <stdlib.h>
#include <unistd.h>

int main(void)
{
	char *volatile block = malloc(200);

	free(block + 16);
	_exit(0);
}
