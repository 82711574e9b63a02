/* Goal: the market shares one slack by what passes through each heap, within its limits of motion,
 * and stands still where nothing changes.
 * Method: clients that exist here alone, with churn that the test names, over simulated minutes;
 * after each tick all invariants. The comparison with equal shares: test_market_mix.c. */
#include "unit.h"

#include "govern/market.h"

#include <string.h>

#define MIB GOVERNOR_MIB
#define TICK_NS (2 * CLOCK_SECOND_NS)
#define CLIENTS_MAX 200

static struct market market;
static struct history_share shares[CLIENTS_MAX];
static struct market_client clients[CLIENTS_MAX];
static uint64_t churn_mib[CLIENTS_MAX], refault_mib[CLIENTS_MAX]; /* a second */
static uint64_t now_ns;

static int set_up(void **state)
{
	(void)state;
	market = (struct market){.slack_bytes = 1000 * MIB};
	memset(shares, 0, sizeof shares);
	memset(clients, 0, sizeof clients);
	memset(churn_mib, 0, sizeof churn_mib);
	memset(refault_mib, 0, sizeof refault_mib);
	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		clients[i].share = &shares[i];
		clients[i].resident_bytes = 100 * MIB;
	}
	now_ns = 1000 * CLOCK_SECOND_NS;
	return 0;
}

static uint64_t target_mib(size_t i)
{
	return shares[i].target_bytes / MIB;
}

/* What others get of a client may be this much: of a client that has left, all. Floors, and what is
 * too much as S has shrunk, are taken without a limit. */
static void check_motion(const uint64_t before[], size_t count)
{
	uint64_t taken = 0, floors = 0, sum = 0, minute = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t target = shares[i].target_bytes;

		sum += before[i];
		if (target != 0 && target < before[i])
			taken += before[i] - target;
		if (before[i] < MARKET_FLOOR_BYTES && target > before[i])
			floors += MARKET_FLOOR_BYTES;
	}
	if (sum <= market.slack_bytes)
		assert_true(taken <= market.slack_bytes / 20 + floors + CLIENTS_MAX);
	for (size_t i = 0; i < MARKET_MINUTE_TICKS; i++)
		minute += market.moved[i];
	assert_true(sum > market.slack_bytes || minute <= market.slack_bytes / 5);
}

static void tick(size_t count)
{
	uint64_t before[CLIENTS_MAX];

	for (size_t i = 0; i < count; i++) {
		before[i] = shares[i].target_bytes;
		clients[i].refilled_bytes_total += churn_mib[i] * MIB * 2;
		clients[i].refaulted_bytes_total += refault_mib[i] * MIB * 2;
	}
	now_ns += TICK_NS;
	market_tick(&market, clients, count, now_ns, TICK_NS);
	assert_true(market_is_valid(&market, clients, count));
	check_motion(before, count);
}

static void minutes(size_t count, int how_many)
{
	for (int i = 0; i < how_many * MARKET_MINUTE_TICKS; i++)
		tick(count);
}

static void shares_follow_churn(void **state)
{
	(void)state;
	churn_mib[0] = 60;
	churn_mib[1] = 30;
	churn_mib[2] = 10;
	minutes(4, 10);
	assert_in_range(target_mib(0), 570, 600);
	assert_in_range(target_mib(1), 285, 305);
	assert_in_range(target_mib(2), 93, 103);
	/* Who does nothing has the floor. */
	assert_int_equal(shares[3].target_bytes, MARKET_FLOOR_BYTES);
}

static void it_takes_minutes(void **state)
{
	(void)state;
	churn_mib[0] = 10;
	minutes(2, 10);
	churn_mib[0] = 0;
	churn_mib[1] = 10;
	tick(2);
	tick(2);
	assert_true(target_mib(1) <= 4 + 2 * 50);
	minutes(2, 1);
	assert_true(target_mib(1) <= 4 + 300);
	minutes(2, 6);
	assert_true(target_mib(1) > 900);
}

/* At constant churn each target goes one way, and then it stays. */
static void nothing_swings(void **state)
{
	int direction[20] = {0};
	uint64_t last[20] = {0}, settled[20];

	(void)state;
	for (size_t i = 0; i < 20; i++)
		churn_mib[i] = 1 + i * i * 7 % 40;
	tick(20);
	for (int step = 0; step < 600; step++) {
		for (size_t i = 0; i < 20; i++)
			last[i] = shares[i].target_bytes;
		tick(20);
		for (size_t i = 0; i < 20; i++) {
			int way = (shares[i].target_bytes > last[i]) -
				  (shares[i].target_bytes < last[i]);

			/* Churn itself needs some ticks to be what it is. */
			if (step < 30 || way == 0)
				continue;
			assert_true(direction[i] == 0 || direction[i] == way);
			direction[i] = way;
		}
	}
	for (size_t i = 0; i < 20; i++)
		settled[i] = shares[i].target_bytes;
	minutes(20, 2);
	for (size_t i = 0; i < 20; i++)
		assert_int_equal(shares[i].target_bytes, settled[i]);
}

/* What trembles by some hundredths moves nothing. */
static void trembling_is_no_churn(void **state)
{
	uint64_t before[2];

	(void)state;
	churn_mib[0] = 200;
	churn_mib[1] = 100;
	minutes(2, 6);
	before[0] = shares[0].target_bytes;
	before[1] = shares[1].target_bytes;
	for (int i = 0; i < 200; i++) {
		churn_mib[0] = 200 + (uint64_t)(i % 2) * 8;
		tick(2);
		assert_int_equal(shares[0].target_bytes, before[0]);
		assert_int_equal(shares[1].target_bytes, before[1]);
	}
	churn_mib[0] = 250;
	minutes(2, 2);
	assert_true(shares[0].target_bytes > before[0]);
}

static void floors_come_first(void **state)
{
	(void)state;
	churn_mib[0] = 100;
	minutes(1, 10);
	assert_true(target_mib(0) > 900);
	/* 150 more at once: 600 MiB of floors. */
	tick(151);
	for (size_t i = 1; i < 151; i++)
		assert_true(shares[i].target_bytes >= MARKET_FLOOR_BYTES);
	assert_true(target_mib(0) <= 400);
	/* Where there is not so much, all have the same. */
	market.slack_bytes = 100 * MIB;
	tick(200);
	for (size_t i = 0; i < 200; i++)
		assert_in_range(shares[i].target_bytes, MIB / 2 - 1, MIB / 2);
	/* And where there is none, nobody has any. */
	market.slack_bytes = 0;
	tick(200);
	assert_int_equal(shares[0].target_bytes, 0);
}

static void the_small_and_the_exempt_are_not_in_it(void **state)
{
	(void)state;
	churn_mib[0] = churn_mib[1] = churn_mib[2] = 10;
	clients[0].resident_bytes = GOVERNOR_SMALL_BYTES - 1;
	clients[1].is_exempt = true;
	minutes(3, 6);
	assert_int_equal(shares[0].target_bytes, 0);
	assert_int_equal(shares[1].target_bytes, 0);
	assert_true(target_mib(2) > 950);
	/* What was counted before it grew is not churn of now. */
	clients[0].resident_bytes = GOVERNOR_SMALL_BYTES;
	minutes(3, 6);
	assert_in_range(target_mib(0), 470, 530);
}

static void who_has_refaults_keeps_what_it_has(void **state)
{
	uint64_t before;

	(void)state;
	churn_mib[0] = churn_mib[1] = 10;
	minutes(2, 6);
	churn_mib[0] = 1;
	refault_mib[0] = 1;
	before = shares[0].target_bytes;
	minutes(2, 2);
	assert_true(shares[0].target_bytes >= before);
	refault_mib[0] = 0;
	minutes(2, 6);
	assert_true(target_mib(0) < 120);
}

/* Counters of a client that starts anew fall; and a hostile one may claim anything. */
static void counters_may_be_anything(void **state)
{
	(void)state;
	churn_mib[0] = churn_mib[1] = 10;
	minutes(2, 2);
	clients[0].refilled_bytes_total = 0;
	tick(2);
	clients[0].refilled_bytes_total = UINT64_MAX / 2;
	clients[0].refaulted_bytes_total = UINT64_MAX / 2;
	for (int i = 0; i < 100; i++)
		tick(2);
	clients[0].refilled_bytes_total = 0;
	minutes(2, 10);
	assert_true(target_mib(1) > 4);
}

/* A fleet that is born, works in turns and ends, at random. */
static void invariants_hold_in_a_fleet(void **state)
{
	uint32_t random = 7;

	(void)state;
	for (int step = 0; step < 3000; step++) {
		size_t i = (random = random * 1664525 + 1013904223) >> 8 & 127;

		churn_mib[i] = (random >> 16 & 3) == 0 ? random >> 20 & 255 : 0;
		refault_mib[i] = (random >> 14 & 7) == 0 ? random >> 22 & 15 : 0;
		clients[i].resident_bytes = (random >> 12 & 15) == 0 ? 0 : 100 * MIB;
		clients[i].is_exempt = (random >> 10 & 31) == 0;
		if ((random >> 9 & 63) == 0)
			memset(&shares[i], 0, sizeof shares[i]);
		if (step % 500 == 499)
			market.slack_bytes = (512 + (random >> 7 & 2047)) * MIB;
		/* S that changes is no move: the limits of motion hold again after a minute. */
		if (step % 500 == 499)
			memset(market.moved, 0, sizeof market.moved);
		tick(128);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(shares_follow_churn, set_up),
		cmocka_unit_test_setup(it_takes_minutes, set_up),
		cmocka_unit_test_setup(nothing_swings, set_up),
		cmocka_unit_test_setup(trembling_is_no_churn, set_up),
		cmocka_unit_test_setup(floors_come_first, set_up),
		cmocka_unit_test_setup(the_small_and_the_exempt_are_not_in_it, set_up),
		cmocka_unit_test_setup(who_has_refaults_keeps_what_it_has, set_up),
		cmocka_unit_test_setup(counters_may_be_anything, set_up),
		cmocka_unit_test_setup(invariants_hold_in_a_fleet, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
