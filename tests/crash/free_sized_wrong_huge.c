/* Goal: a huge block's size is compared, too. Method: a page less than it has. */
#include "twin.h"

int main(void)
{
	void (*free_sized)(void *block, size_t size);
	void *block = malloc(3000000);

	find_twin("free_sized", &free_sized);
	free_sized(block, 3000000 - 2 * 4096);
	return 0;
}
