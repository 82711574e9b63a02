/* Goal: what live blocks have left idle for a decay goes back to the system, though the program
 * goes on with no more than its magazines hold; what it needs again within the decay stays, and
 * what it left while it stood still stays for another one.
 * All goes where an agent sees the program stand still, and nothing by a clock that is late.
 * Method: 96 MiB of blocks of mixed sizes, of which all but every sixteenth are freed; then pairs
 * of malloc and free in a few classes, which never miss. Resident memory from /proc, the blocks'
 * contents, and what was given back by libhak's own count.
 */
#include "resident.h"
#include "unit.h"

#include "base/os.h"
#include "govern/purge.h"
#include "govern/sweep.h"
#include "heap/thread.h"

#include <hak/hak.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define BLOCKS 65536
#define KEPT_EVERY 16
#define MEAN_BYTES 1536

static unsigned char *blocks[BLOCKS];

static size_t size_of(size_t i)
{
	return 24 + i * 2654435761u % (2 * MEAN_BYTES - 48);
}

/* All, or those that give_most() gives. */
static void take(bool all)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		if (i % KEPT_EVERY == 0 && !all)
			continue;
		blocks[i] = hak_malloc(size_of(i));
		assert_non_null(blocks[i]);
		memset(blocks[i], (int)(i & 0xff), size_of(i));
	}
}

static void give_most_of(size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		if (i % KEPT_EVERY != 0)
			hak_free(blocks[i]);
}

static void give_most(void)
{
	give_most_of(0, BLOCKS);
}

static void check_and_give_rest(void)
{
	for (size_t i = 0; i < BLOCKS; i += KEPT_EVERY) {
		assert_int_equal(blocks[i][0], i & 0xff);
		assert_int_equal(blocks[i][size_of(i) - 1], i & 0xff);
		hak_free(blocks[i]);
	}
}

/* So many hundredths of a second of pairs that magazines alone serve. */
static void hit(int hundredths)
{
	for (int i = 0; i < hundredths; i++) {
		for (size_t j = 0; j < 64; j++) {
			void *volatile block = hak_malloc(100 + 16 * (j % 4));

			hak_free(block);
		}
		usleep(10000);
	}
}

static void what_is_idle_goes_back(void **state)
{
	size_t before, full, after;

	(void)state;
	before = resident_bytes();
	take(true);
	full = resident_bytes();
	give_most();
	hit(250);
	after = resident_bytes();
	print_message("resident %zu KiB, full %zu KiB, after %zu KiB\n", before / 1024, full / 1024,
		      after / 1024);
#if !defined(__SANITIZE_THREAD__)
	/* A sixteenth is live, and has a page or two for each block. */
	assert_true(after < before + BLOCKS / KEPT_EVERY * 2 * hak_os_page_bytes() + 16 * MIB);
#endif
	assert_true(hak_purge_returned_bytes() > 48 * MIB);
	check_and_give_rest();
}

static void a_heap_that_breathes_keeps_its_memory(void **state)
{
	uint64_t before;

	(void)state;
	take(true);
	before = hak_purge_returned_bytes();
	for (int breath = 0; breath < 10; breath++) {
		give_most();
		hit(20);
		take(false);
	}
	print_message("%llu bytes went back meanwhile\n",
		      (unsigned long long)(hak_purge_returned_bytes() - before));
	assert_true(hak_purge_returned_bytes() - before < 8 * MIB);
	give_most();
	check_and_give_rest();
}

static void finish_sweep(void)
{
	while (hak_sweep_is_under_way())
		hak_thread_look();
}

/* It may have come back for what it left; who only wakes up now and then has not. */
static void who_comes_back_has_time_to_take_it_again(void **state)
{
	uint64_t before;

	(void)state;
	take(true);
	give_most();
	hit(30);
	before = hak_purge_returned_bytes();
	usleep(1200000);
	hit(30);
	assert_true(hak_purge_returned_bytes() - before < 8 * MIB);
	take(false);
	hit(110);
	give_most();
	before = hak_purge_returned_bytes();
	hit(30);
	usleep(1200000);
	hit(30);
	assert_true(hak_purge_returned_bytes() - before < 8 * MIB);
	usleep(1200000);
	hit(30);
	finish_sweep();
	assert_true(hak_purge_returned_bytes() - before > 48 * MIB);
	check_and_give_rest();
}

static void *ask_as_agent(void *arg)
{
	assert_true(hak_sweep_all(UINT64_MAX, false));
	return arg;
}

/* What an agent asks for it does itself; who comes to a slow path before is at work. */
static void all_goes_by_the_agent_alone(void **state)
{
	pthread_t agent;
	uint64_t before;

	(void)state;
	take(true);
	give_most();
	before = hak_purge_returned_bytes();
	assert_int_equal(pthread_create(&agent, NULL, ask_as_agent, NULL), 0);
	assert_int_equal(pthread_join(agent, NULL), 0);
	assert_true(hak_sweep_is_under_way());
	hak_thread_look();
	assert_false(hak_sweep_is_under_way());
	assert_true(hak_purge_returned_bytes() - before < 8 * MIB);

	assert_true(hak_sweep_all(UINT64_MAX, false));
	finish_sweep();
	assert_true(hak_purge_returned_bytes() - before > 48 * MIB);
	check_and_give_rest();
}

#define MS_NS ((uint64_t)1000000)

static void sweep_all(uint64_t still_ns, bool stirred_soon)
{
	assert_true(hak_sweep_all(still_ns, stirred_soon));
	finish_sweep();
}

/* Whoever is at work every now and then, and frees little, has not all magazines emptied each
 * time. */
static void sweeps_that_find_little_are_put_off(void **state)
{
	(void)state;
	sweep_all(UINT64_MAX, false);
	sweep_all(UINT64_MAX, false);
	assert_false(hak_sweep_all(300 * MS_NS, true));
	sweep_all(1000 * MS_NS, true);
	assert_false(hak_sweep_all(1900 * MS_NS, true));
	sweep_all(2000 * MS_NS, true);
	for (int i = 0; i < 4; i++)
		sweep_all(8000 * MS_NS, true);
	assert_false(hak_sweep_all(7900 * MS_NS, true));
	sweep_all(8000 * MS_NS, true);
	/* A longer rest ends that. */
	sweep_all(260 * MS_NS, false);
}

static void who_is_at_work_is_left_alone_by_any_decay(void **state)
{
	(void)state;
	assert_int_equal(hak_set_setting("HAK_DECAY", "0"), 0);
	assert_false(hak_sweep_all(0, false));
	assert_int_equal(hak_set_setting("HAK_DECAY", "1000"), 0);
}

/* Threads that have read the clock come by after another that read it later. */
static void no_time_passes_by_an_older_clock(void **state)
{
	uint64_t before;

	(void)state;
	take(true);
	before = hak_purge_returned_bytes();
	for (int breath = 0; breath < 10; breath++) {
		give_most_of(0, BLOCKS / 2);
		hak_sweep_if_due(hak_os_now_ns() + 500000000);
		give_most_of(BLOCKS / 2, BLOCKS);
		take(false);
	}
	print_message("%llu bytes went back meanwhile\n",
		      (unsigned long long)(hak_purge_returned_bytes() - before));
	assert_true(hak_purge_returned_bytes() - before < 8 * MIB);
	give_most();
	check_and_give_rest();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_idle_goes_back),
		cmocka_unit_test(a_heap_that_breathes_keeps_its_memory),
		cmocka_unit_test(who_comes_back_has_time_to_take_it_again),
		cmocka_unit_test(all_goes_by_the_agent_alone),
		cmocka_unit_test(sweeps_that_find_little_are_put_off),
		cmocka_unit_test(who_is_at_work_is_left_alone_by_any_decay),
		cmocka_unit_test(no_time_passes_by_an_older_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
