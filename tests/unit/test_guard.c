/* Goal: memory that is not there ends the function that touches it, and nothing else.
 * Method: a mapping of a file that is cut off, as one of a client is that has no memory left. */
#include "unit.h"

#include "base/guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile char *page;

/* cmocka has one of its own in each test. */
static struct sigaction handler;

static void touch(void *context)
{
	page[0]++;
	*(bool *)context = true;
}

static void what_is_not_there_ends_the_function(void **state)
{
	int fd = memfd_create("page", 0);
	bool came_through;

	(void)state;
	assert_int_equal(sigaction(SIGBUS, &handler, NULL), 0);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(page != MAP_FAILED);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(ftruncate(fd, 4096), 0);
		came_through = false;
		assert_true(guard_call(touch, &came_through));
		assert_true(came_through);
		assert_int_equal(ftruncate(fd, 0), 0);
		came_through = false;
		assert_false(guard_call(touch, &came_through));
		assert_false(came_through);
	}
	close(fd);
}

/* Anywhere else it is what it was. */
static void elsewhere_it_ends_the_process(void **state)
{
	bool came_through;
	pid_t child;
	int status;

	(void)state;
	child = fork();
	if (child == 0) {
		sigaction(SIGBUS, &handler, NULL);
		touch(&came_through);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_there_ends_the_function),
		cmocka_unit_test(elsewhere_it_ends_the_process),
	};
	bool came_through;
	char there;

	page = &there;
	guard_call(touch, &came_through);
	sigaction(SIGBUS, NULL, &handler);

	return cmocka_run_group_tests(tests, NULL, NULL);
}
