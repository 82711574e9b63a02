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
#include "bulk.h"
#include "measure.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* Pairs of malloc and free between the pauses and the light work. */
#define PAIRS 1000u

static uint64_t byte_count, percent, pause_seconds, seed;

static struct bulk bulk;

static void take_all(void)
{
	for (size_t i = 0; i < bulk.slot_count; i++) {
		struct bulk_slot *slot = &bulk.slots[i];

		slot->block = measure_malloc(slot->size);
		measure_touch_ends(slot->block, slot->size);
	}
}

static int by_address(const void *left, const void *right)
{
	const struct bulk_slot *a = left, *b = right;

	return a->block < b->block ? -1 : a->block > b->block;
}

/* Memory of the pages that live blocks touch. Sorts the slots, in place: qsort(3) may allocate, and
 * so this comes last. */
static uint64_t floor_bytes(void)
{
	uintptr_t page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t next = 0;
	uint64_t pages = 0;

	qsort(bulk.slots, bulk.slot_count, sizeof(*bulk.slots), by_address);
	for (size_t i = 0; i < bulk.slot_count; i++) {
		const struct bulk_slot *slot = &bulk.slots[i];

		if (slot->block == NULL)
			continue;
		uintptr_t first = (uintptr_t)slot->block / page_bytes;
		uintptr_t last = ((uintptr_t)slot->block + slot->size - 1) / page_bytes;

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
	bulk = bulk_plan(byte_count, seed);
	base = measure_resident_bytes();
	random = seed;

	double start_seconds = measure_now_seconds();

	take_all();
	full = measure_resident_bytes() - base;
	bulk_free(&bulk, percent, seed);
	result.seconds = measure_now_seconds() - start_seconds;
	result.peak_bytes = measure_peak_bytes() - base;
	freed = measure_resident_bytes() - base;
	sleep_seconds(0.01 * (double)pause_seconds);
	soon = measure_resident_bytes() - base;
	sleep_seconds(0.09 * (double)pause_seconds);
	later = measure_resident_bytes() - base;
	sleep_seconds(0.9 * (double)pause_seconds);
	late = measure_resident_bytes() - base;
	for (unsigned i = 0; i < PAIRS; i += BULK_LIGHT_BLOCKS)
		bulk_work_once(&random);
	pairs = measure_resident_bytes() - base;
	bulk_work_lightly((double)pause_seconds / 5, seed);
	end = measure_resident_bytes() - base;
	result.resident_bytes = end;
	measure_print(&result,
		      "full_bytes=%" PRIu64 " freed_bytes=%" PRIu64 " soon_bytes=%" PRIu64
		      " later_bytes=%" PRIu64 " late_bytes=%" PRIu64 " pairs_bytes=%" PRIu64
		      " floor_bytes=%" PRIu64,
		      full, freed, soon, later, late, pairs, floor_bytes());
	return EXIT_SUCCESS;
}
