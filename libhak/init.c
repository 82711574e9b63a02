/* init.c - on top of all: what happens when the library comes and goes, and who wakes whom.
 *
 * Allocations before the constructor are served: every table works from zeroed static memory, and
 * heap and thread are born by the first slow path.
 */
#include "base/os.h"
#include "base/settings.h"
#include "govern/fork.h"
#include "govern/purge.h"
#include "govern/stats.h"
#include "govern/telemetry.h"
#include "heap/thread.h"

#include <hak/hak.h>

#define STRINGIFY_(x) #x
#define STRINGIFY(x) STRINGIFY_(x)

HAK_EXPORT const char *hak_version(void)
{
	return STRINGIFY(HAK_VERSION_MAJOR) "." STRINGIFY(HAK_VERSION_MINOR) "." STRINGIFY(
		HAK_VERSION_PATCH);
}

/* The clock costs as much as a third of a huge block: so many of a thread's slow paths share a look
 * at it. */
#define LOOK_EVERY 8

static void slow_passed(void)
{
	static __thread uint8_t passed_count;

	if (++passed_count % LOOK_EVERY != 0 && !hak_telemetry_is_urgent())
		return;
	uint64_t now_ns = hak_os_now_ns();

	hak_purge_if_due(now_ns);
	hak_telemetry_if_due(now_ns);
}

/* Defined here, so that a static link that takes malloc takes this file with its constructor
 * too. */
void (*const hak_thread_slow_passed)(void) = slow_passed;

/* Linked with -z initfirst, and in a static program by its priority, the first of all constructors:
 * before the C library's own, so that `environ` is not set and the loader's copy is what there
 * is. */
__attribute__((constructor(101))) static void hak_init(int count, char **arguments,
						       char **environment)
{
	(void)count;
	(void)arguments;
	hak_settings_read(environment);
	hak_thread_init();
	hak_fork_init();
	if (hak_settings.stats)
		hak_stats_init();
}

__attribute__((destructor(101))) static void hak_exit(void)
{
	if (hak_settings.stats)
		hak_stats_print();
}
