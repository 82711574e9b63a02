/* Goal: free_sized with a size of the same class is a wrong size, too. Method: one byte more. */
#include "twin.h"

int main(void)
{
	void (*free_sized)(void *block, size_t size);
	void *block;

	find_twin("free_sized", &free_sized);
	free_sized(malloc(100), 100);
	block = malloc(100);
	free_sized(block, 101);
	return 0;
}
