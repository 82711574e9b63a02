/* purge.c - what goes back to the system, when, and what that costs.
 *
 * Goal     the purge levels of libhak beside what others do: how much of a freed heap the kernel
 *          may take at once, how much a program gives back by itself while it goes on with little,
 *          and on request; the seconds of each, and the page faults of those who want the memory
 *          again.
 * Method   a heap of BYTES in blocks of 16..4096 bytes, all written. PERCENT of them, drawn at
 *          random, are freed: the time is that of the frees. Resident and marked memory (Rss and
 *          LazyFree of smaps_rollup) is read then; after SECONDS of light work; and after
 *          malloc_trim(3), where the allocator has it. Then as much is allocated again and written,
 *          and its page faults are counted. --forked has a child of fork(2) sleep meanwhile, as a
 *          server that writes a snapshot does: what the two share until then cannot be marked.
 *          Seconds in madvise(2) come from hak_stats_get(), and are 0 for other allocators, for
 *          which strace(1) has to do.
 */
#include "bulk.h"
#include "measure.h"

#include <dlfcn.h>
#include <hak/hak.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t byte_count, percent, light_seconds, seed;
static uint64_t base_bytes;

static struct bulk bulk;

/* What is read at each stage. */
struct stage {
	uint64_t resident_bytes;
	uint64_t marked_bytes;
	uint64_t faults;
	double advice_seconds;
};

static int (*read_stats)(struct hak_stats *stats, size_t stats_bytes);
static int (*trim)(size_t pad);

static void find_calls(void)
{
	*(void **)&read_stats = dlsym(RTLD_DEFAULT, "hak_stats_get");
	*(void **)&trim = dlsym(RTLD_DEFAULT, "malloc_trim");
}

static void take_missing(void)
{
	for (size_t i = 0; i < bulk.slot_count; i++) {
		struct bulk_slot *slot = &bulk.slots[i];

		if (slot->block != NULL)
			continue;
		slot->block = measure_malloc(slot->size);
		memset(slot->block, 1, slot->size);
	}
}

static struct stage read_stage(void)
{
	struct stage stage = {
		.resident_bytes = measure_resident_bytes() - base_bytes,
		.marked_bytes = measure_marked_bytes(),
	};
	struct hak_stats stats;
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	stage.faults = (uint64_t)usage.ru_minflt;
	if (read_stats != NULL && read_stats(&stats, sizeof stats) == 0)
		stage.advice_seconds = (double)stats.advice_ns / 1e9;
	return stage;
}

static pid_t fork_sleeper(void)
{
	pid_t child = fork();

	if (child < 0)
		measure_fail("fork");
	while (child == 0)
		pause();
	return child;
}

int main(int argc, char **argv)
{
	static const char usage[] =
		"usage: purge [--forked] BYTES PERCENT SECONDS SEED\n"
		"\n"
		"  --forked  a child of fork(2) sleeps while the blocks are freed\n"
		"  BYTES     size of the heap\n"
		"  PERCENT   of its blocks are freed, drawn at random, 0 to 100\n"
		"  SECONDS   of light work\n"
		"  SEED      of sizes and of the draw\n";
	const struct measure_argument arguments[] = {
		{"BYTES", 1, UINT64_C(1) << 36, &byte_count},
		{"PERCENT", 0, 100, &percent},
		{"SECONDS", 0, 3600, &light_seconds},
		{"SEED", 0, UINT32_MAX, &seed},
	};
	bool is_forked = argc > 1 && strcmp(argv[1], "--forked") == 0;
	struct measure_result result = {.program = "purge"};
	struct stage full, freed, worked, trimmed, again;
	double start_seconds, trim_seconds, again_seconds;
	pid_t sleeper = 0;

	measure_arguments(argc, argv, is_forked ? 2 : 1, usage, arguments, 4);
	find_calls();
	bulk = bulk_plan(byte_count, seed);
	base_bytes = measure_resident_bytes();
	take_missing();
	if (is_forked)
		sleeper = fork_sleeper();
	full = read_stage();
	start_seconds = measure_now_seconds();
	bulk_free(&bulk, percent, seed);
	result.seconds = measure_now_seconds() - start_seconds;
	freed = read_stage();
	bulk_work_lightly((double)light_seconds, seed);
	worked = read_stage();
	start_seconds = measure_now_seconds();
	if (trim != NULL)
		trim(0);
	trim_seconds = measure_now_seconds() - start_seconds;
	trimmed = read_stage();
	start_seconds = measure_now_seconds();
	take_missing();
	again_seconds = measure_now_seconds() - start_seconds;
	again = read_stage();
	if (is_forked) {
		kill(sleeper, SIGKILL);
		waitpid(sleeper, NULL, 0);
	}
	measure_print(&result,
		      "full_bytes=%" PRIu64 " freed_bytes=%" PRIu64 " marked_bytes=%" PRIu64
		      " marking_seconds=%.6f worked_bytes=%" PRIu64 " trimmed_bytes=%" PRIu64
		      " trim_seconds=%.6f again_seconds=%.6f again_faults=%" PRIu64,
		      full.resident_bytes, freed.resident_bytes, freed.marked_bytes,
		      freed.advice_seconds - full.advice_seconds, worked.resident_bytes,
		      trimmed.resident_bytes, trim_seconds, again_seconds,
		      again.faults - trimmed.faults);
	return EXIT_SUCCESS;
}
