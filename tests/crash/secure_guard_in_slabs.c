/* Goal: writing on and on through slabs meets a guard within a MiB. Method: just that, from the
 * lowest of so many blocks that there is memory behind it for longer. */
#include <stdlib.h>

int main(void)
{
	char *volatile block = malloc(100);

	for (int i = 0; i < 100000; i++) {
		char *other = malloc(100);

		block = other < block ? other : block;
	}

	for (size_t i = 0; i < 2 << 20; i += 64)
		block[i] = 1;
	return 0;
}
