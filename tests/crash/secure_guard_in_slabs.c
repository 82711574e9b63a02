/* Goal: writing on and on through slabs meets a guard within a MiB. Method: just that, with enough
 * memory open on either side. */
#include <stdlib.h>

int main(void)
{
	for (int i = 0; i < 100000; i++)
		if (malloc(100) == NULL)
			return 1;
	char *volatile block = malloc(100);

	for (size_t i = 0; i < 2 << 20; i += 64)
		block[i] = 1;
	return 0;
}
