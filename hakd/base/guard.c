#include "base/guard.h"

#include <setjmp.h>
#include <signal.h>
#include <stddef.h>

static sigjmp_buf way_out;
static volatile sig_atomic_t is_guarded;

static void on_bus_error(int number)
{
	if (is_guarded)
		siglongjmp(way_out, 1);
	/* Not ours: back to where it was raised, where it is raised again. */
	signal(number, SIG_DFL);
}

/* Of the process for good. Not blocked while it is handled, since the way out restores no mask:
 * that would be a system call each time. */
static void install(void)
{
	static bool is_installed;
	struct sigaction action = {.sa_handler = on_bus_error, .sa_flags = SA_NODEFER};

	if (!is_installed)
		sigaction(SIGBUS, &action, NULL);
	is_installed = true;
}

bool guard_call(void (*act)(void *context), void *context)
{
	volatile bool was_there = false;

	install();
	if (sigsetjmp(way_out, 0) == 0) {
		is_guarded = 1;
		act(context);
		was_there = true;
	}
	is_guarded = 0;
	return was_there;
}
