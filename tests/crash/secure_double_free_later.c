/* Goal: a double free is found at once, other frees between. Method: the block waits in the
 * quarantine or lies free in its slab; no batch needs to be flushed for it. */
#include <stdlib.h>
#include <unistd.h>

int main(void)
{
	void *volatile one = malloc(64);
	void *volatile other = malloc(64);

	free(one);
	free(other);
	free(one);
	_exit(0);
}
