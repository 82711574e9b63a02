/* Goal: malloc_usable_size refuses memory that the program mapped by itself, instead of inventing
 * a size for it. */
#include <malloc.h>
#include <sys/mman.h>

int main(void)
{
	void *volatile page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				   -1, 0);

	if (page == MAP_FAILED)
		return 1;
	return malloc_usable_size(page) != 0;
}
