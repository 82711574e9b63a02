/* A program that uses the heap and ends with 1 where the kernel calls it secure (AT_SECURE), else
 * with 0; 2 says that it had no memory. See secure.sh. */
#include <stdlib.h>
#include <sys/auxv.h>

int main(void)
{
	void *volatile block = malloc(100);

	if (block == NULL)
		return 2;
	free(block);
	return getauxval(AT_SECURE) != 0 ? 1 : 0;
}
