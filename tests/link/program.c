/* Goal: a program that links libhak gets all of it, from libhak.a too: malloc by its own name, and
 * the constructor, without which threads die with their magazines and forks find locks held.
 * Method: malloc must be hak_malloc, realloc hak_realloc; a forked child must be able to allocate;
 * and HAK_STATS=1, which the test sets, must print a summary, since the constructor reads it. The
 * test looks for that; the program ends with 0 or says what is missing. */
#include <hak/hak.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	void *(*volatile plain)(size_t) = malloc;
	void *(*volatile again)(void *, size_t) = realloc;
	pid_t child;
	int status;

	if (plain != hak_malloc || again != hak_realloc) {
		puts("malloc or realloc is another library's");
		return 1;
	}
	child = fork();
	if (child == 0)
		_exit(plain(100) != NULL && plain(100000) != NULL ? 0 : 1);
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		puts("the forked child could not allocate");
		return 1;
	}
	return 0;
}
