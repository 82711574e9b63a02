/* Goal: an address in the first unit of a run, whose class byte is that of the run's head, is
 * refused at once. */
#include <stdlib.h>

int main(void)
{
	char *volatile block = malloc(200000);

	free(block + 4096);
	return 0;
}
