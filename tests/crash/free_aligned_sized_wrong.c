/* Goal: a block that an aligned call cannot have given is found at once. Method: the right ones
 * first, of all kinds; then one that was never aligned to so much. */
#include "twin.h"

int main(void)
{
	void (*free_aligned_sized)(void *block, size_t alignment, size_t size);
	static const size_t sizes[] = {0, 1, 100, 4096, 10000, 40000, 900000, 3000000};
	void *block;

	find_twin("free_aligned_sized", &free_aligned_sized);
	for (size_t alignment = 8; alignment <= (size_t)8 << 20; alignment *= 2)
		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
			free_aligned_sized(aligned_alloc(alignment, sizes[i]), alignment, sizes[i]);
	free_aligned_sized(NULL, 64, 100);
	do
		block = malloc(1000);
	while ((size_t)block % 4096 == 0);
	free_aligned_sized(block, 4096, 1000);
	return 0;
}
