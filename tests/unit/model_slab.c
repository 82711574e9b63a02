/* Goal: the protocol of slab.h holds under every schedule: no block has two owners, popcount never
 * falls below the count, and a slab that nobody uses is on its list or in the pool, never lost.
 * Method: two or three threads over the real control.h, slab.c, pool.c and region.c (model.h).
 * A scenario begins with a slab of 512-byte blocks (one unit) in a given state. Where it is small
 * every interleaving is run; where a slab goes to the pool on the way, all those with up to four
 * preemptions. */
#include "unit.h"

#include "base/os.h"
#include "base/sandbox.h"
#include "base/size_class.h"
#include "heap/census.h"
#include "heap/hole.h"
#include "heap/pool.h"
#include "heap/region.h"
#include "heap/shared.h"
#include "heap/slab.h"
#include "heap/tally.h"

#include <string.h>
#include <sys/mman.h>

#define CLASS 16 /* 512 bytes, 32 blocks, one unit */
#define BLOCKS 32

/* What region.c needs of os.c, which is not compiled under the explorer. */
size_t hak_os_page_bytes(void)
{
	return 4096;
}

size_t hak_os_ram_bytes(void)
{
	return 0;
}

bool hak_sandbox_is_noted(void)
{
	return false;
}

size_t hak_os_address_space_bytes(void)
{
	return (size_t)1 << 30;
}

void *hak_os_reserve(size_t bytes, size_t alignment)
{
	char *start = mmap(NULL, bytes + alignment, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return start + (-(uintptr_t)start & (alignment - 1));
}

bool hak_os_open(void *address, size_t bytes)
{
	return mprotect(address, bytes, PROT_READ | PROT_WRITE) == 0;
}

bool hak_os_dump(void *address, size_t bytes, bool dumped)
{
	return madvise(address, bytes, dumped ? MADV_DODUMP : MADV_DONTDUMP) == 0;
}

/* Nothing is purged here, so nobody waits for it. */
void hak_os_yield(void)
{
	MODEL_CHECK(false);
}

/* Nobody reads along. */
_Atomic(struct hak_shared *) hak_shared;

void hak_shared_begin_rows(void)
{
}

bool hak_shared_write_superslab(unsigned char *page, uint32_t superslab,
				const struct hak_shared_units *units, bool is_new)
{
	(void)page;
	(void)superslab;
	(void)units;
	(void)is_new;
	MODEL_CHECK(false);
	return false;
}

uint64_t hak_shared_reclaimed_ns(void)
{
	return 0;
}

void hak_shared_write_slab(const struct hak_slab *slab)
{
	(void)slab;
}

/* Sums that nobody reads here would only multiply the schedules. */
void hak_tally_add_taken(unsigned class_idx, int64_t count)
{
	(void)class_idx;
	(void)count;
}

void hak_tally_add_touched(unsigned class_idx, int64_t count)
{
	(void)class_idx;
	(void)count;
}

void hak_tally_add_slabs(unsigned class_idx, int64_t count)
{
	(void)class_idx;
	(void)count;
}

void hak_tally_add_returned(int64_t bytes)
{
	(void)bytes;
}

void hak_tally_add_lazy(int64_t bytes)
{
	(void)bytes;
}

void hak_tally_add_reused(int64_t bytes)
{
	(void)bytes;
}

void hak_tally_add_refaulted(int64_t bytes)
{
	(void)bytes;
}

bool hak_os_return(void *address, size_t bytes)
{
	(void)address;
	(void)bytes;
	return true;
}

bool hak_os_mark_lazy(void *address, size_t bytes)
{
	(void)address;
	(void)bytes;
	return true;
}

uint64_t hak_os_now_ns(void)
{
	return 1;
}

static void
	*blocks[BLOCKS]; /* all blocks of the slab; which of them are given is each scenario's */
static uint32_t unit;	 /* of the slab */
static unsigned owners[BLOCKS];
static void *taken[3][BLOCKS];
static unsigned taken_count[3];
static uint32_t leases[3];

/* A slab with its first `outstanding` blocks in the program's hands, not leased. */
static void setup_slab(unsigned outstanding)
{
	memset(owners, 0, sizeof owners);
	memset(taken_count, 0, sizeof taken_count);
	memset(leases, 0xff, sizeof leases);
	unit = hak_slab_lease(CLASS);
	MODEL_CHECK(hak_slab_take(unit, BLOCKS, blocks) == BLOCKS);
	hak_slab_unlease(unit);
	if (outstanding < BLOCKS)
		hak_slab_give(CLASS, blocks + outstanding, BLOCKS - outstanding);
}

/* After the threads: what they still hold is given back, and then no slab may be left. */
static void check_nothing_is_lost(void)
{
	struct hak_census_row counts[HAK_CLASS_COUNT + 1];
	uint64_t run_unit_count;

	for (unsigned i = 0; i < 3; i++) {
		for (unsigned j = 0; j < i; j++)
			for (unsigned a = 0; a < taken_count[i]; a++)
				for (unsigned b = 0; b < taken_count[j]; b++)
					MODEL_CHECK(taken[i][a] != taken[j][b]);
	}
	for (unsigned i = 0; i < 3; i++) {
		if (leases[i] != HAK_POOL_NONE) {
			MODEL_CHECK(hak_census_is_valid(leases[i]));
			hak_slab_unlease(leases[i]);
		}
		hak_slab_give(CLASS, taken[i], taken_count[i]);
	}
	for (unsigned i = 0; i < BLOCKS; i++)
		if (owners[i] != 0)
			hak_slab_give(CLASS, &blocks[i], 1);
	memset(counts, 0, sizeof counts);
	hak_census_of_slabs(counts, &run_unit_count);
	MODEL_CHECK(counts[CLASS].slab_count == 0);
	MODEL_CHECK(counts[CLASS].taken_block_count == 0);
	MODEL_CHECK(hak_region_class(unit) == HAK_CLASS_NONE);
	MODEL_CHECK(hak_pool_is_valid());
}

static void give_own(void)
{
	hak_slab_give(CLASS, &blocks[model_thread()], 1);
}

static void take_two_and_keep(void)
{
	unsigned me = model_thread();
	uint32_t leased = hak_slab_lease(CLASS);

	taken_count[me] = hak_slab_take(leased, 2, taken[me]);
	MODEL_CHECK(taken_count[me] >= 1);
	leases[me] = leased;
}

static void take_two_and_unlease(void)
{
	take_two_and_keep();
	hak_slab_unlease(leases[model_thread()]);
	leases[model_thread()] = HAK_POOL_NONE;
}

static void setup_full(void)
{
	setup_slab(BLOCKS);
	for (unsigned i = 2; i < BLOCKS; i++)
		owners[i] = 1;
}

/* The slab has free blocks and no lessee: the next lease must find it. */
static void check_it_is_listed(void)
{
	MODEL_CHECK(hak_slab_lease(CLASS) == unit);
	hak_slab_unlease(unit);
	check_nothing_is_lost();
}

/* Two first gives to a full slab: one of them lists it. All interleavings. */
static void a_full_slab_is_listed_once(void **state)
{
	(void)state;
	model_run(&(struct model){.setup = setup_full,
				  .threads = {give_own, give_own},
				  .check = check_it_is_listed,
				  .preemptions_max = MODEL_ALL});
}

static void setup_two_outstanding(void)
{
	setup_slab(2);
}

/* The last two blocks come back at once: one of the givers retires the slab. */
static void the_last_give_retires(void **state)
{
	(void)state;
	model_run(&(struct model){.setup = setup_two_outstanding,
				  .threads = {give_own, give_own},
				  .check = check_nothing_is_lost,
				  .preemptions_max = 5});
}

static void setup_one_outstanding(void)
{
	setup_slab(1);
}

/* The last block comes back while another thread leases the slab from the list. */
static void a_lease_meets_the_last_give(void **state)
{
	(void)state;
	model_run(&(struct model){.setup = setup_one_outstanding,
				  .threads = {give_own, take_two_and_unlease},
				  .check = check_nothing_is_lost,
				  .preemptions_max = 4});
	model_run(&(struct model){.setup = setup_two_outstanding,
				  .threads = {give_own, give_own, take_two_and_unlease},
				  .check = check_nothing_is_lost,
				  .preemptions_max = 2});
}

static void setup_all_but_one_outstanding(void)
{
	setup_slab(BLOCKS - 1);
	for (unsigned i = 2; i < BLOCKS - 1; i++)
		owners[i] = 1;
}

static void setup_the_second_coming(void)
{
	setup_all_but_one_outstanding();
	owners[0] = 1;
}

/* The lessee takes what is there while blocks come back: bits and count never disagree. */
static void taking_meets_giving(void **state)
{
	(void)state;
	model_run(&(struct model){.setup = setup_the_second_coming,
				  .threads = {take_two_and_keep, give_own},
				  .check = check_nothing_is_lost,
				  .preemptions_max = MODEL_ALL,
				  .executions_max = 20000000});
	model_run(&(struct model){.setup = setup_all_but_one_outstanding,
				  .threads = {give_own, give_own, take_two_and_unlease},
				  .check = check_nothing_is_lost,
				  .preemptions_max = 3});
}

static void setup_one_kept(void)
{
	setup_slab(1);
	owners[0] = 1;
}

/* Two threads lease at once; there is one listed slab. */
static void two_leases_get_two_slabs(void **state)
{
	(void)state;
	model_run(&(struct model){.setup = setup_one_kept,
				  .threads = {take_two_and_keep, take_two_and_keep},
				  .check = check_nothing_is_lost,
				  .preemptions_max = 3});
}

/* Every unit that a scenario may meet is used once before: a slab of untouched memory keeps a high
 * water mark, which would make the first executions differ from those that repeat them. */
static int start(void **state)
{
	uint32_t units[4];

	(void)state;
	if (!hak_region_init())
		return -1;
	for (unsigned i = 0; i < UNIT_COUNT(units); i++)
		units[i] = hak_slab_lease(CLASS);
	for (unsigned i = 0; i < UNIT_COUNT(units); i++)
		hak_slab_unlease(units[i]);
	return 0;
}

/* What a trim has claimed is not there to be taken. */
static void take_what_is_left(void)
{
	unsigned me = model_thread();
	uint32_t leased = hak_slab_lease(CLASS);

	taken_count[me] = hak_slab_take(leased, 2, taken[me]);
	hak_slab_unlease(leased);
}

static void give_first(void)
{
	hak_slab_give(CLASS, &blocks[0], 1);
}

static void return_holes(void)
{
	uint32_t at = unit;

	(void)hak_hole_return(&at);
}

/* A trim claims all free blocks of the slab for a while: nobody gets one of them, none is lost, and
 * the slab is listed or retired as ever. */
static void a_trim_meets_the_others(void **state)
{
	(void)state;
	model_run(&(struct model){.setup = setup_one_outstanding,
				  .threads = {return_holes, give_first},
				  .check = check_nothing_is_lost,
				  .preemptions_max = 4});
	model_run(&(struct model){.setup = setup_one_kept,
				  .threads = {take_what_is_left, return_holes},
				  .check = check_nothing_is_lost,
				  .preemptions_max = 3});
	model_run(&(struct model){.setup = setup_one_kept,
				  .threads = {return_holes, return_holes},
				  .check = check_nothing_is_lost,
				  .preemptions_max = 4});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_slab_is_listed_once),
		cmocka_unit_test(the_last_give_retires),
		cmocka_unit_test(a_lease_meets_the_last_give),
		cmocka_unit_test(taking_meets_giving),
		cmocka_unit_test(two_leases_get_two_slabs),
		cmocka_unit_test(a_trim_meets_the_others),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
