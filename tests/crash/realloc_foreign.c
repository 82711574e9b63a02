/* Goal: realloc refuses memory that the program mapped by itself, before it copies any. */
#include <stdlib.h>
#include <sys/mman.h>

int main(void)
{
	void *volatile page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				   -1, 0);

	if (page == MAP_FAILED)
		return 1;
	page = realloc(page, 8192);
	return 0;
}
