/* burst.c - a gibibyte for a moment, and what stays.
 *
 * Goal     how much memory a program keeps after it has freed nearly all of a large heap: at once,
 *          after a while of doing nothing, and after it has gone on with little.
 * Method   blocks of 16..4096 bytes are allocated until BYTES are held, and each of their pages is
 *          written. PERCENT of them, drawn at random, are freed. Resident memory is read then,
 *          after 0.1, 1 and 10 s of sleep, after 1,000 pairs of malloc and free, and after 2 s of
 *          light work, where SECONDS is 10. Beside it stands the floor: the pages that hold a byte
 *          of a live block, which nobody can do without. What the program itself has resident is
 *          not counted.
 */
#include "measure.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define BLOCK_BYTES_MIN 16u
#define BLOCK_BYTES_MAX 4096u
#define LIGHT_STEP_NS 10000000L
#define LIGHT_BLOCKS 64u

static uint64_t byte_count, percent, pause_seconds, seed;

static struct slot {
	char *block;
	size_t size;
} * slots;
static size_t slot_count;

static size_t draw_size(uint64_t *random)
{
	return BLOCK_BYTES_MIN + measure_scale((uint32_t)measure_random(random),
					       BLOCK_BYTES_MAX - BLOCK_BYTES_MIN + 1);
}

static void make_slots(void)
{
	uint64_t random = seed;

	for (uint64_t held = 0; held < byte_count; slot_count++)
		held += draw_size(&random);
	slots = measure_map(slot_count * sizeof(*slots));
}

static void take_all(void)
{
	uint64_t random = seed;

	for (size_t i = 0; i < slot_count; i++) {
		slots[i].size = draw_size(&random);
		slots[i].block = measure_malloc(slots[i].size);
		measure_touch_ends(slots[i].block, slots[i].size);
	}
}

static void free_most(void)
{
	uint64_t random = ~seed;

	for (size_t i = 0; i < slot_count; i++) {
		if (measure_scale((uint32_t)measure_random(&random), 100) >= percent)
			continue;
		free(slots[i].block);
		slots[i].block = NULL;
	}
}

static int by_address(const void *left, const void *right)
{
	const struct slot *a = left, *b = right;

	return a->block < b->block ? -1 : a->block > b->block;
}

/* Memory of the pages that live blocks touch. Sorts the slots, in place: qsort(3) may allocate, and
 * so this comes last. */
static uint64_t floor_bytes(void)
{
	uintptr_t page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t next = 0;
	uint64_t pages = 0;

	qsort(slots, slot_count, sizeof(*slots), by_address);
	for (size_t i = 0; i < slot_count; i++) {
		if (slots[i].block == NULL)
			continue;
		uintptr_t first = (uintptr_t)slots[i].block / page_bytes;
		uintptr_t last = ((uintptr_t)slots[i].block + slots[i].size - 1) / page_bytes;

		first = first < next ? next : first;
		if (last < first)
			continue;
		pages += last - first + 1;
		next = last + 1;
	}
	return pages * page_bytes;
}

static void sleep_seconds(double seconds)
{
	struct timespec time = {.tv_sec = (time_t)seconds,
				.tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};

	nanosleep(&time, NULL);
}

static void work_lightly(uint64_t *random)
{
	void *blocks[LIGHT_BLOCKS];

	for (size_t i = 0; i < LIGHT_BLOCKS; i++) {
		size_t size = draw_size(random);

		blocks[i] = measure_malloc(size);
		measure_touch_ends(blocks[i], size);
	}
	for (size_t i = 0; i < LIGHT_BLOCKS; i++)
		free(blocks[i]);
}

static void work_for_a_while(void)
{
	const struct timespec step = {.tv_nsec = LIGHT_STEP_NS};
	double end_seconds = measure_now_seconds() + (double)pause_seconds / 5;
	uint64_t random = seed;

	while (measure_now_seconds() < end_seconds) {
		work_lightly(&random);
		nanosleep(&step, NULL);
	}
}

int main(int argc, char **argv)
{
	static const char usage[] =
		"usage: burst BYTES PERCENT SECONDS SEED\n"
		"\n"
		"  BYTES    size of the heap\n"
		"  PERCENT  of its blocks are freed, drawn at random, 0 to 100\n"
		"  SECONDS  the longest pause\n"
		"  SEED     of sizes and of the draw\n";
	const struct measure_argument arguments[] = {
		{"BYTES", 1, UINT64_C(1) << 36, &byte_count},
		{"PERCENT", 0, 100, &percent},
		{"SECONDS", 0, 3600, &pause_seconds},
		{"SEED", 0, UINT32_MAX, &seed},
	};
	struct measure_result result = {.program = "burst"};
	uint64_t base, full, freed, soon, later, late, pairs, end, random;

	measure_arguments(argc, argv, 1, usage, arguments, 4);
	make_slots();
	base = measure_resident_bytes();
	random = seed;

	double start_seconds = measure_now_seconds();

	take_all();
	full = measure_resident_bytes() - base;
	free_most();
	result.seconds = measure_now_seconds() - start_seconds;
	result.peak_bytes = measure_peak_bytes() - base;
	freed = measure_resident_bytes() - base;
	sleep_seconds(0.01 * (double)pause_seconds);
	soon = measure_resident_bytes() - base;
	sleep_seconds(0.09 * (double)pause_seconds);
	later = measure_resident_bytes() - base;
	sleep_seconds(0.9 * (double)pause_seconds);
	late = measure_resident_bytes() - base;
	for (size_t i = 0; i < 1000; i += LIGHT_BLOCKS)
		work_lightly(&random);
	pairs = measure_resident_bytes() - base;
	work_for_a_while();
	end = measure_resident_bytes() - base;
	result.resident_bytes = end;
	measure_print(&result,
		      "full_bytes=%" PRIu64 " freed_bytes=%" PRIu64 " soon_bytes=%" PRIu64
		      " later_bytes=%" PRIu64 " late_bytes=%" PRIu64 " pairs_bytes=%" PRIu64
		      " floor_bytes=%" PRIu64,
		      full, freed, soon, later, late, pairs, floor_bytes());
	return EXIT_SUCCESS;
}
