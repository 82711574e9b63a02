/* Goal: core dumps leave out what is not open and SuperSlabs with nothing in use; and the process
 * never gets more mappings for it than the header says.
 * Method: SuperSlabs are noted one by one; what the kernel would dump is read from the "dd" (do not
 * dump) in /proc/self/smaps, and compared with what dump.h says. */
#include "unit.h"

#include "base/os.h"
#include "heap/dump.h"
#include "heap/huge.h"
#include "heap/huge_cache.h"
#include "heap/meta.h"
#include "heap/region.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SUPERSLABS 1200
#define ROW_SUPERSLABS 32 /* by which tables grow (region.c) */

/* More gaps than there may be fit into them. */
static_assert(SUPERSLABS > 4 * HAK_DUMP_GAPS_MAX, "enough SuperSlabs");

static int start(void **state)
{
	uint32_t index;

	(void)state;
	if (!hak_region_init())
		return -1;
	while (hak_region.superslab_count < SUPERSLABS)
		if (!hak_region_open_next(&index))
			return -1;
	return 0;
}

struct mapping {
	uintptr_t start, end;
	bool is_open;
	bool is_dumped;
};

/* Calls `each` for the mappings between two addresses; returns how many there are. */
static unsigned look(uintptr_t from, uintptr_t to, void (*each)(const struct mapping *, void *),
		     void *context)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	struct mapping at = {0, 0, false, false};
	char line[512], access[8];
	unsigned count = 0;

	assert_non_null(file);
	while (fgets(line, sizeof line, file) != NULL) {
		unsigned long first, end;

		if (sscanf(line, "%lx-%lx %7s", &first, &end, access) == 3)
			at = (struct mapping){first, end, access[0] == 'r', true};
		if (strncmp(line, "VmFlags:", 8) != 0 || at.end <= from || at.start >= to)
			continue;
		at.is_dumped = strstr(line, " dd") == NULL;
		count++;
		if (each != NULL)
			each(&at, context);
	}
	fclose(file);
	return count;
}

static void note_superslabs(const struct mapping *mapping, void *context)
{
	bool *dumped = context;

	for (uint32_t i = 0; i < SUPERSLABS; i++) {
		uintptr_t at = hak_region.base + i * HAK_SUPERSLAB_BYTES;

		if (at >= mapping->start && at < mapping->end)
			dumped[i] = mapping->is_dumped;
	}
}

/* The kernel's word is ours. Returns the mappings that the SuperSlabs make. */
static unsigned check(void)
{
	static bool dumped[SUPERSLABS];
	unsigned count = look(hak_region.base, hak_region.base + SUPERSLABS * HAK_SUPERSLAB_BYTES,
			      note_superslabs, dumped);

	for (uint32_t i = 0; i < SUPERSLABS; i++)
		assert_int_equal(dumped[i], hak_dump_has(i));
	assert_true(hak_dump_is_valid());
	assert_true(count <= 2 * HAK_DUMP_GAPS_MAX + 1);
	return count;
}

static void use_all(void)
{
	for (uint32_t i = 0; i < SUPERSLABS; i++)
		hak_dump_note_used(i, true);
	assert_int_equal(hak_dump_gap_count(), 0);
	assert_int_equal(check(), 1);
}

static void add_closed(const struct mapping *mapping, void *context)
{
	size_t *dumped_bytes = context;

	if (!mapping->is_open && mapping->is_dumped)
		*dumped_bytes += mapping->end - mapping->start;
}

/* The whole reservation, of which most is not open. */
static void what_is_not_open_is_not_dumped(void **state)
{
	uintptr_t from = (uintptr_t)hak_region.meta_end - hak_region.meta_bytes;
	uintptr_t to = hak_region.base +
		       (size_t)hak_region.superslab_count_max * HAK_SUPERSLAB_BYTES;
	size_t closed_bytes = 0;
	unsigned count = 0;

	(void)state;
	/* Meta by many steps at once, tables by rows, the heap. Once each has grown, growing needs
	 * no mapping more. */
	for (unsigned i = 0; i < 3 * ROW_SUPERSLABS; i++) {
		uint32_t index;

		assert_non_null(hak_meta_take(5 * HAK_META_STEP_BYTES));
		assert_true(hak_region_open_next(&index));
		if (i == ROW_SUPERSLABS)
			count = look(from, to, add_closed, &closed_bytes);
		else if (i > ROW_SUPERSLABS)
			assert_int_equal(look(from, to, NULL, NULL), count);
	}
	/* A step of each part. */
	assert_true(closed_bytes >= HAK_SUPERSLAB_BYTES);
	assert_true(closed_bytes < 2 * HAK_SUPERSLAB_BYTES);
	closed_bytes = 0;
	(void)look(from, to, add_closed, &closed_bytes);
	assert_true(closed_bytes < 2 * HAK_SUPERSLAB_BYTES);
}

static void what_is_empty_is_left_out(void **state)
{
	uint64_t now_ns = hak_os_now_ns();

	(void)state;
	for (uint32_t i = 10; i < 20; i++)
		hak_dump_note_empty(i, now_ns);
	assert_int_equal(hak_dump_gap_count(), 1);
	assert_int_equal(check(), 3);
	/* What comes back after its memory went is as it should be. */
	hak_dump_note_used(19, true);
	assert_true(hak_dump_has(19));
	hak_dump_note_empty(19, now_ns);
	assert_false(hak_dump_has(19));
	/* What comes back before is a heap that breathes. */
	hak_dump_note_used(19, false);
	hak_dump_note_empty(19, hak_os_now_ns());
	assert_true(hak_dump_has(19));
	hak_dump_note_empty(19, hak_os_now_ns() + 2 * ((uint64_t)1000000000));
	assert_false(hak_dump_has(19));
	/* Until then what goes back is left out all the same. */
	hak_dump_note_empty(20, hak_os_now_ns());
	assert_true(hak_dump_has(20));
	hak_dump_note_returned(20);
	assert_false(hak_dump_has(20));
	assert_int_equal(check(), 3);
	use_all();
}

static void gaps_are_bounded(void **state)
{
	uint32_t left_out = 0;

	(void)state;
	for (uint32_t i = 0; i < SUPERSLABS; i += 2)
		hak_dump_note_returned(i);
	for (uint32_t i = 0; i < SUPERSLABS; i++)
		left_out += !hak_dump_has(i);
	assert_int_equal(left_out, HAK_DUMP_GAPS_MAX);
	assert_int_equal(hak_dump_gap_count(), HAK_DUMP_GAPS_MAX);
	(void)check();
	/* What joins two is welcome, and makes room. */
	hak_dump_note_returned(1);
	assert_false(hak_dump_has(1));
	assert_int_equal(hak_dump_gap_count(), HAK_DUMP_GAPS_MAX - 1);
	hak_dump_note_returned(SUPERSLABS - 2);
	assert_false(hak_dump_has(SUPERSLABS - 2));
	/* Splitting a gap at the bound takes a side of it along. */
	assert_int_equal(hak_dump_gap_count(), HAK_DUMP_GAPS_MAX);
	hak_dump_note_used(1, true);
	assert_int_equal(hak_dump_gap_count(), HAK_DUMP_GAPS_MAX);
	assert_false(hak_dump_has(0));
	assert_true(hak_dump_has(1) && hak_dump_has(2));
	(void)check();
	use_all();
}

static void random_notes_hold(void **state)
{
	(void)state;
	srand(11);
	for (unsigned round = 0; round < 20000; round++) {
		uint32_t superslab = (uint32_t)rand() % SUPERSLABS;

		if (rand() % 2 != 0) {
			hak_dump_note_used(superslab, rand() % 2 != 0);
			assert_true(hak_dump_has(superslab));
		} else if (rand() % 2 != 0) {
			hak_dump_note_empty(superslab, hak_os_now_ns());
		} else {
			hak_dump_note_returned(superslab);
		}
		if (round % 1000 == 0)
			(void)check();
	}
	use_all();
}

/* At vm.max_map_count no mapping can be split: what is used comes back with all of its gap. */
static void comes_back_without_a_mapping_to_spare(void **state)
{
	static char *filler[70000];
	size_t page_bytes = hak_os_page_bytes();
	uint32_t index;
	unsigned count = 0;

	(void)state;
	for (uint32_t i = 100; i < 200; i++)
		hak_dump_note_returned(i);
	assert_int_equal(check(), 3);
	/* No two of the same access, so that none are joined. */
	while (count < 70000) {
		int access = count % 2 == 0 ? PROT_NONE : PROT_READ;
		char *page = mmap(NULL, page_bytes, access, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (page == MAP_FAILED)
			break;
		filler[count++] = page;
	}
	bool is_full = count < 70000;

	if (is_full) {
		hak_dump_note_used(150, true);
		/* The heap grows by moving borders. */
		assert_true(hak_region_open_next(&index));
	}
	while (count-- > 0)
		munmap(filler[count], page_bytes);
	if (!is_full)
		skip();
	assert_true(hak_dump_has(150));
	assert_int_equal(hak_dump_gap_count(), 0);
	use_all();
}

static void note_dumped(const struct mapping *mapping, void *context)
{
	bool *dumped = context;

	*dumped = *dumped && mapping->is_dumped;
}

static bool is_dumped(const char *block, size_t bytes)
{
	bool dumped = true;

	(void)look((uintptr_t)block, (uintptr_t)block + bytes, note_dumped, &dumped);
	return dumped;
}

/* Mappings of freed huge blocks: from purge.c's look on, until they are handed out again. */
static void mappings_at_rest_are_left_out(void **state)
{
	size_t bytes = (size_t)8 << 20;
	bool zeroed;
	char *block = hak_huge_take(bytes, 1, &zeroed);

	(void)state;
	assert_non_null(block);
	assert_true(is_dumped(block, bytes));
	assert_true(hak_huge_give(block));
	assert_true(is_dumped(block, bytes));
	hak_huge_cache_stamp(hak_os_now_ns());
	assert_false(is_dumped(block, bytes));
	/* A little less than it was, then more: it is the same memory, cut and grown. */
	assert_ptr_equal(hak_huge_take(bytes / 2, 1, &zeroed), block);
	assert_true(is_dumped(block, bytes / 2));
	assert_true(hak_huge_give(block));
	hak_huge_cache_stamp(hak_os_now_ns());
	block = hak_huge_take(bytes * 3 / 4, 1, &zeroed);
	assert_false(zeroed);
	assert_true(is_dumped(block, bytes * 3 / 4));
	assert_true(hak_huge_give(block));
	hak_huge_cache_purge(UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_open_is_not_dumped),
		cmocka_unit_test(what_is_empty_is_left_out),
		cmocka_unit_test(gaps_are_bounded),
		cmocka_unit_test(random_notes_hold),
		cmocka_unit_test(mappings_at_rest_are_left_out),
		cmocka_unit_test(comes_back_without_a_mapping_to_spare),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
