/* init.c - on top of all: what happens when the library comes and goes, and who wakes whom.
 *
 * Allocations before the constructor are served: every table works from zeroed static memory, and
 * heap and thread are born by the first slow path.
 */
#include "base/forward.h"
#include "base/os.h"
#include "base/policy.h"
#include "base/report.h"
#include "base/sandbox.h"
#include "base/settings.h"
#include "govern/agent.h"
#include "govern/fork.h"
#include "govern/lazyfree.h"
#include "govern/limit.h"
#include "govern/purge.h"
#include "govern/stats.h"
#include "govern/sweep.h"
#include "govern/telemetry.h"
#include "calls/malloc.h"
#include "heap/budget.h"
#include "heap/huge_cache.h"
#include "heap/region.h"
#include "heap/thread.h"

#include <errno.h>
#include <hak/hak.h>

#define STRINGIFY_(x) #x
#define STRINGIFY(x) STRINGIFY_(x)

HAK_EXPORT const char *hak_version(void)
{
	return STRINGIFY(HAK_VERSION_MAJOR) "." STRINGIFY(HAK_VERSION_MINOR) "." STRINGIFY(
		HAK_VERSION_PATCH);
}

HAK_EXPORT int hak_set_setting(const char *name, const char *value)
{
	static const int errors[] = {
		[HAK_SETTINGS_UNKNOWN] = ENOENT,
		[HAK_SETTINGS_AT_START] = EPERM,
		[HAK_SETTINGS_BAD] = EINVAL,
	};
	enum hak_settings_refusal refusal = hak_settings_set(name, value);

	if (refusal == HAK_SETTINGS_DONE)
		return 0;
	errno = errors[refusal];
	return -1;
}

/* The clock costs as much as a third of a huge block: so many of a thread's slow paths share a look
 * at it. */
#define LOOK_EVERY 16

/* Out of line: what it needs of the stack is not to be made room for on each slow path. */
static HAK_NOINLINE void look_around(void)
{
	uint64_t now_ns = hak_os_now_ns();

	hak_lazyfree_if_due(now_ns);
	hak_purge_if_due(now_ns);
	hak_sweep_if_due(now_ns);
	hak_limit_look(now_ns);
	hak_telemetry_if_due(now_ns);
	hak_thread_looked(now_ns, hak_purge_is_pending() || hak_sweep_is_pending());
	if (hak_policy_has_agent())
		hak_agent_tend(now_ns);
}

static void slow_passed(bool must_look)
{
	static __thread uint8_t passed_count;

	if ((++passed_count % LOOK_EVERY == 0 || must_look || hak_telemetry_is_urgent() ||
	     hak_lazyfree_is_urgent()) &&
	    !hak_forward.is_on)
		look_around();
}

/* Defined here, so that a static link that takes malloc takes this file with its constructor
 * too. */
void (*const hak_thread_slow_passed)(bool must_look) = slow_passed;
uint64_t (*const hak_budget_used)(void) = hak_limit_used;
bool (*const hak_malloc_relieve)(size_t size) = hak_limit_relieve;
void (*const hak_malloc_run_errand)(void) = hak_agent_start;

/* Under valgrind a call of malloc may lead anywhere: callgrind and cachegrind leave it alone,
 * memcheck and others put their own in its place. */
static bool is_replaced(void)
{
	void *block = hak_malloc(1);
	bool is_ours = hak_region_has_grain(hak_region_grain(block));

	hak_free(block);
	return !is_ours;
}

/* The loader may have used malloc before us. Its blocks stay ours, but what is left in magazines
 * would be given out still. */
static void give_back_what_is_cached(void)
{
	struct hak_thread *thread = hak_thread_enter();

	hak_thread_shed();
	hak_thread_leave(thread);
}

static void stand_aside_if_asked(void)
{
	const char *tool = hak_forward_sanitizer();
	struct hak_line line;

	if (tool == NULL && hak_forward_on_valgrind() && is_replaced())
		tool = "valgrind";
	if (tool == NULL && !hak_settings.disable)
		return;
	hak_forward_start();
	if (hak_region_is_born())
		give_back_what_is_cached();
	if (tool == NULL || !hak_forward.is_on)
		return;
	hak_line_begin(&line);
	hak_line_put(&line, tool);
	hak_line_put(&line, " replaces malloc in this process; libhak stands aside");
	hak_line_write(&line);
}

/* Where a filter may come unheard, what asks more of the kernel than malloc does is done now or
 * never. */
static void prepare_for_filter(void)
{
	if (hak_sandbox_hears())
		return;
	(void)hak_region_init();
	hak_huge_cache_size();
	hak_sandbox_note();
}

/* Linked with -z initfirst, and in a static program by its priority, the first of all constructors:
 * before the C library's own, so that `environ` is not set and the loader's copy is what there
 * is. */
__attribute__((constructor(101))) HAK_HIDDEN void hak_init(int count, char **arguments,
							   char **environment);

void hak_init(int count, char **arguments, char **environment)
{
	static bool is_done;

	if (is_done)
		return;
	is_done = true;
	if (count > 0)
		hak_line_name(arguments[0]);
	hak_settings_read(environment);
	(void)hak_os_ram_bytes();
	if (hak_settings.help)
		hak_settings_print();
	hak_thread_init();
	hak_fork_init();
	prepare_for_filter();
	stand_aside_if_asked();
	if (hak_settings.stats)
		hak_stats_init();
}

__attribute__((destructor(101))) static void hak_exit(void)
{
	if (hak_settings.stats)
		hak_stats_print();
}
