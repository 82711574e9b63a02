/* A program that closes fd 2, opens its argument in its place, and ends. See stats_output.sh. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int main(int count, char **arguments)
{
	if (count != 2 || close(STDERR_FILENO) != 0 ||
	    open(arguments[1], O_WRONLY | O_CREAT | O_TRUNC, 0600) != STDERR_FILENO)
		return 1;
	free(malloc(100));
	return 0;
}
