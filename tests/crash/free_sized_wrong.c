/* Goal: free_sized with the size of another class is found at once. Method: C23's call by its name,
 * after one with the right size and one that realloc left where it was. */
#include "twin.h"

int main(void)
{
	void (*free_sized)(void *block, size_t size);
	void *block;

	find_twin("free_sized", &free_sized);
	free_sized(malloc(100), 100);
	free_sized(malloc(0), 0);
	free_sized(NULL, 5);
	block = realloc(malloc(100), 60);
	free_sized(block, 60);
	free_sized(calloc(10, 5000), 50000);
	block = realloc(malloc(50000), 40000);
	free_sized(block, 40000);
	free_sized(malloc(3000000), 3000000);
	block = malloc(100);
	free_sized(block, 200);
	return 0;
}
