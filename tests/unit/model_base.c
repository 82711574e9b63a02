/* Goal: the three words that everything stands on hold under every schedule: a bitmap's bit goes to
 * one taker, a lock lets one in and forgets nobody, a closed gate has nobody inside.
 * Method: every interleaving of two threads (and of three with bounded preemptions) over the real
 * bitmap.h, lock.c and gate.c (model.h). */
#include "unit.h"

#include "base/bitmap.h"
#include "base/gate.h"
#include "base/lock.h"

static _Atomic uint64_t word;
static uint64_t got[3];
static uint64_t given_twice[3];

static void setup_four_bits(void)
{
	word = 0xf0;
	for (unsigned i = 0; i < UNIT_COUNT(got); i++)
		got[i] = given_twice[i] = 0;
}

static void take_two(void)
{
	got[model_thread()] = hak_bitmap_take(&word, 2);
}

static void take_three(void)
{
	got[model_thread()] = hak_bitmap_take(&word, 3);
}

static void take_and_give(void)
{
	unsigned me = model_thread();

	got[me] = hak_bitmap_take(&word, 2);
	given_twice[me] = hak_bitmap_give(&word, got[me]);
}

static void check_taken(void)
{
	MODEL_CHECK((got[0] & got[1]) == 0);
	MODEL_CHECK((got[0] | got[1] | word) == 0xf0);
	MODEL_CHECK(((got[0] | got[1]) & word) == 0);
	/* A taker leaves with less than it wanted only where the rest was somebody's. */
	MODEL_CHECK(__builtin_popcountl(got[0]) >= 1 && __builtin_popcountl(got[1]) >= 1);
}

static void check_given(void)
{
	MODEL_CHECK(word == 0xf0);
	MODEL_CHECK(given_twice[0] == 0 && given_twice[1] == 0 && given_twice[2] == 0);
}

static void give_the_same_bit(void)
{
	given_twice[model_thread()] = hak_bitmap_give(&word, 0x100);
}

static void check_one_was_told(void)
{
	MODEL_CHECK(word == 0x1f0);
	MODEL_CHECK((given_twice[0] ^ given_twice[1]) == 0x100);
}

static void bits_have_one_owner(void **state)
{
	(void)state;
	model_run(&(struct model){.setup = setup_four_bits,
				  .threads = {take_two, take_three},
				  .check = check_taken,
				  .preemptions_max = MODEL_ALL});
	model_run(&(struct model){.setup = setup_four_bits,
				  .threads = {take_and_give, take_and_give, take_and_give},
				  .check = check_given,
				  .preemptions_max = MODEL_ALL});
	model_run(&(struct model){.setup = setup_four_bits,
				  .threads = {give_the_same_bit, give_the_same_bit},
				  .check = check_one_was_told,
				  .preemptions_max = MODEL_ALL});
}

static struct hak_lock lock = HAK_LOCK_OF(HAK_LOCK_POOL);
static int holders, entries;

static void setup_lock(void)
{
	lock.state = 0;
	holders = entries = 0;
}

static void hold_once(void)
{
	hak_lock_take(&lock);
	MODEL_CHECK(holders == 0);
	holders++;
	model_point();
	holders--;
	entries++;
	hak_lock_give(&lock);
}

static void hold_twice(void)
{
	hold_once();
	hold_once();
}

static void check_lock_two(void)
{
	MODEL_CHECK(entries == 4 && lock.state == 0);
}

static void check_lock_three(void)
{
	MODEL_CHECK(entries == 3 && lock.state == 0);
}

static void a_lock_lets_one_in_and_wakes_the_next(void **state)
{
	(void)state;
	model_run(&(struct model){.setup = setup_lock,
				  .threads = {hold_twice, hold_twice},
				  .check = check_lock_two,
				  .preemptions_max = MODEL_ALL});
	model_run(&(struct model){.setup = setup_lock,
				  .threads = {hold_once, hold_once, hold_once},
				  .check = check_lock_three,
				  .preemptions_max = 4});
}

static struct hak_gate gate;
static struct hak_gate_pass passes[3];
static int inside, closed;

static void setup_gate(void)
{
	gate.closer = NULL;
	gate.turn_count = 0;
	for (unsigned i = 0; i < UNIT_COUNT(passes); i++)
		passes[i].inside_count = 0;
	inside = closed = entries = 0;
}

static void pass_through(void)
{
	hak_gate_enter(&gate, &passes[model_thread()]);
	MODEL_CHECK(closed == 0);
	inside++;
	model_point();
	MODEL_CHECK(closed == 0);
	inside--;
	entries++;
	hak_gate_leave_own(&passes[model_thread()]);
}

/* As the fork handlers do: close, wait for each, fork, enter and leave oneself, open. */
static void close_and_open(void)
{
	unsigned me = model_thread();

	hak_gate_close(&gate, &passes[me]);
	for (unsigned i = 0; i < UNIT_COUNT(passes); i++)
		if (i != me)
			hak_gate_close_pass(&passes[i]);
	closed++;
	MODEL_CHECK(inside == 0 && closed == 1);
	hak_gate_enter(&gate, &passes[me]);
	model_point();
	MODEL_CHECK(inside == 0);
	hak_gate_leave(&passes[me]);
	closed--;
	hak_gate_open(&gate);
	entries++;
}

static void check_gate(void)
{
	MODEL_CHECK(gate.closer == NULL && inside == 0 && closed == 0);
	MODEL_CHECK(entries >= 2);
	for (unsigned i = 0; i < UNIT_COUNT(passes); i++)
		MODEL_CHECK(passes[i].inside_count == 0);
}

static void a_closed_gate_has_nobody_inside(void **state)
{
	(void)state;
	model_run(&(struct model){.setup = setup_gate,
				  .threads = {pass_through, close_and_open},
				  .check = check_gate,
				  .preemptions_max = MODEL_ALL});
	model_run(&(struct model){.setup = setup_gate,
				  .threads = {close_and_open, close_and_open},
				  .check = check_gate,
				  .preemptions_max = MODEL_ALL,
				  .executions_max = 20000000});
	model_run(&(struct model){.setup = setup_gate,
				  .threads = {pass_through, close_and_open, close_and_open},
				  .check = check_gate,
				  .preemptions_max = 3,
				  .executions_max = 20000000});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bits_have_one_owner),
		cmocka_unit_test(a_lock_lets_one_in_and_wakes_the_next),
		cmocka_unit_test(a_closed_gate_has_nobody_inside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
