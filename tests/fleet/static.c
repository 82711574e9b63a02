/* static.c: what a registered program becomes: static, without libhak. Waits for a line. */
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	char line[16];

	puts("static");
	fflush(stdout);
	return read(STDIN_FILENO, line, sizeof line) < 0;
}
