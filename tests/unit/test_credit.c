/* Goal: what is marked in vain costs no more than its share of the time, a little is there from the
 * beginning, and nothing that was done keeps marks away for longer than the longest pause.
 * Method: marks and times that are made up. */
#include "unit.h"

#include "govern/credit.h"

#define MIB ((uint64_t)1 << 20)
#define SECOND_NS ((uint64_t)1000000000)
#define BORN_NS (100 * SECOND_NS)

static struct hak_credit credit;

static int set_up(void **state)
{
	(void)state;
	hak_credit_begin(&credit, BORN_NS);
	return 0;
}

/* A breath: MiB that are marked by so many calls, and taken again at once. */
static void breathe(uint64_t calls, uint64_t mib, uint64_t now_ns)
{
	hak_credit_note_marks(&credit, calls, mib * MIB);
	hak_credit_charge(&credit, mib * MIB, now_ns);
}

static void a_program_begins_with_a_little(void **state)
{
	(void)state;
	assert_true(hak_credit_due_ns(&credit, 0) <= BORN_NS);
	assert_true(hak_credit_due_ns(&credit, HAK_CREDIT_NS_FIRST) <= BORN_NS);
	assert_true(hak_credit_due_ns(&credit, HAK_CREDIT_NS_FIRST + 1) > BORN_NS);
	breathe(4000, 1, BORN_NS); /* 8 ms */
	assert_true(hak_credit_due_ns(&credit, 0) <= BORN_NS);
	breathe(4000, 1, BORN_NS);
	assert_true(hak_credit_due_ns(&credit, 0) > BORN_NS);
}

static void time_pays_for_its_share(void **state)
{
	uint64_t now_ns = BORN_NS, calls = 0;

	(void)state;
	while (now_ns < BORN_NS + 1000 * SECOND_NS) {
		breathe(5000, 64, now_ns);
		calls += 5000 + 64 * MIB / HAK_CREDIT_CALL_BYTES;
		now_ns += SECOND_NS / 10;
		if (hak_credit_due_ns(&credit, 0) > now_ns)
			now_ns = hak_credit_due_ns(&credit, 0);
	}
	assert_in_range(calls * HAK_CREDIT_CALL_NS, 980 * SECOND_NS / HAK_CREDIT_SHARE,
			1020 * SECOND_NS / HAK_CREDIT_SHARE);
}

static void what_is_saved_up_has_a_bound(void **state)
{
	const uint64_t now_ns = BORN_NS + 3600 * SECOND_NS;

	(void)state;
	for (int i = 0; i < 12; i++) {
		assert_true(hak_credit_due_ns(&credit, 0) <= now_ns);
		breathe(10000, 1, now_ns);
	}
	breathe(10000, 1, now_ns);
	assert_true(hak_credit_due_ns(&credit, 0) > now_ns);
}

static void no_pause_is_longer_than_the_longest(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++)
		breathe(1000000000, 1 << 20, BORN_NS);
	assert_int_equal(hak_credit_due_ns(&credit, 0),
			 BORN_NS + HAK_CREDIT_PAUSE_NS_MAX / HAK_CREDIT_SHARE * HAK_CREDIT_SHARE);
}

/* Each mark is paid for once, and those that were of use not at all. */
static void marks_cost_the_mean_of_those_that_stand(void **state)
{
	uint64_t spent_ns = credit.spent_ns;

	(void)state;
	hak_credit_charge(&credit, 100 * MIB, BORN_NS); /* of which nothing is known */
	assert_int_equal(credit.spent_ns, spent_ns);
	hak_credit_note_marks(&credit, 0, 64 * MIB);
	hak_credit_note_marks(&credit, 6144, 64 * MIB); /* 10,240 with what goes with the bytes */
	hak_credit_drop(&credit, 64 * MIB);
	hak_credit_charge(&credit, 0, BORN_NS);
	assert_int_equal(credit.spent_ns, spent_ns);
	hak_credit_charge(&credit, 32 * MIB, BORN_NS);
	assert_in_range(credit.spent_ns - spent_ns, 2500 * HAK_CREDIT_CALL_NS,
			2600 * HAK_CREDIT_CALL_NS);
	hak_credit_charge(&credit, UINT64_MAX, BORN_NS);
	assert_in_range(credit.spent_ns - spent_ns, 5100 * HAK_CREDIT_CALL_NS,
			5140 * HAK_CREDIT_CALL_NS);
	assert_int_equal(credit.marked_bytes, 0);
	assert_int_equal(credit.call_count, 0);
}

static void a_clock_that_is_late_pays_nothing(void **state)
{
	uint64_t spent_ns;

	(void)state;
	hak_credit_charge(&credit, 0, BORN_NS + SECOND_NS);
	spent_ns = credit.spent_ns;
	hak_credit_charge(&credit, 0, BORN_NS);
	hak_credit_charge(&credit, 0, BORN_NS + SECOND_NS);
	assert_int_equal(credit.spent_ns, spent_ns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_program_begins_with_a_little, set_up),
		cmocka_unit_test_setup(time_pays_for_its_share, set_up),
		cmocka_unit_test_setup(what_is_saved_up_has_a_bound, set_up),
		cmocka_unit_test_setup(no_pause_is_longer_than_the_longest, set_up),
		cmocka_unit_test_setup(marks_cost_the_mean_of_those_that_stand, set_up),
		cmocka_unit_test_setup(a_clock_that_is_late_pays_nothing, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
