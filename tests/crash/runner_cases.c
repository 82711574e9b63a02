/* runner_cases CASE - what expect_abort must tell apart: one case that it takes, and one for each
 * of its reasons to refuse. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void say(const char *text)
{
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		_exit(2);
}

int main(int argc, char **argv)
{
	const char *name = argc == 2 ? argv[1] : "";

	if (strcmp(name, "sentence") == 0) {
		say("hak: block 0x7f00dead0010 of 64 bytes\n");
	} else if (strcmp(name, "exit") == 0) {
		say("hak: block 0x7f00dead0010 of 64 bytes\n");
		return 0;
	} else if (strcmp(name, "segfault") == 0) {
		say("hak: block 0x7f00dead0010 of 64 bytes\n");
		raise(SIGSEGV);
	} else if (strcmp(name, "other_words") == 0) {
		say("hak: block 0x7f00dead0010 of x bytes\n");
	} else if (strcmp(name, "two_lines") == 0) {
		say("hak: block 0x7f00dead0010 of 64 bytes\nand more\n");
	} else if (strcmp(name, "no_newline") == 0) {
		say("hak: block 0x7f00dead0010 of 64 bytes");
	} else if (strcmp(name, "hang") == 0) {
		pause();
	} else if (strcmp(name, "silent") != 0) {
		return 2;
	}
	abort();
}
