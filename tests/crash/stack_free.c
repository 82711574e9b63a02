/* Goal: an address on the stack is refused. It is aligned as a block would be, so that alignment is
 * not what gives it away. */
#include <stdalign.h>
#include <stdlib.h>

int main(void)
{
	alignas(16) char array[64] = {0};
	void *volatile address = array;

	free(address);
	return 0;
}
