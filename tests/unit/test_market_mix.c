/* Goal: the market is worth what it is: of the same slack it has a tenth fewer refaults than equal
 * shares at the least. Otherwise equal shares, which are simpler, would stay.
 * Method: eight real programs that were recorded (record_mix.py), three times over; the model of a
 * heap below; several sizes of the slack. What the market loses while it learns counts. */
#include "unit.h"

#include "govern/market.h"
#include "market_mix.inc"

#include <string.h>

#define KIB ((uint64_t)1 << 10)
#define PASSES 3
#define TICK_SAMPLES 8
#define TICK_NS (2 * CLOCK_SECOND_NS)

/* A heap keeps what it frees, up to its limit; the rest goes back. What it needs beyond what it has
 * kept is a refault, as far as it had been there before. */
struct heap {
	uint64_t live, kept, returned, refilled, refaulted;
};

static void step(struct heap *heap, uint64_t live, uint64_t refilled, uint64_t limit)
{
	if (live < heap->live) {
		heap->kept += heap->live - live;
	} else {
		uint64_t need = live - heap->live;
		uint64_t reused = need < heap->kept ? need : heap->kept;
		uint64_t missed = need - reused;
		uint64_t refault = missed < heap->returned ? missed : heap->returned;

		heap->kept -= reused;
		heap->returned -= refault;
		heap->refaulted += refault;
	}
	heap->live = live;
	heap->refilled += refilled;
	if (heap->kept > limit) {
		heap->returned += heap->kept - limit;
		heap->kept = limit;
	}
}

static uint64_t refaults_at(uint64_t slack_bytes, bool is_market)
{
	struct market market = {.slack_bytes = slack_bytes};
	struct history_share shares[MIX_PROGRAMS] = {{.target_bytes = 0}};
	struct market_client clients[MIX_PROGRAMS];
	struct heap heaps[MIX_PROGRAMS] = {{.live = 0}};
	uint64_t now_ns = CLOCK_SECOND_NS, sum = 0;

	for (size_t sample = 0; sample < PASSES * MIX_SAMPLES; sample++) {
		size_t at = sample % MIX_SAMPLES;

		for (size_t i = 0; i < MIX_PROGRAMS; i++) {
			uint64_t refilled = mix[at][i][1] - (at == 0 ? 0 : mix[at - 1][i][1]);

			step(&heaps[i], mix[at][i][0] * KIB, refilled * KIB,
			     is_market ? shares[i].target_bytes : slack_bytes / MIX_PROGRAMS);
			clients[i] = (struct market_client){
				.share = &shares[i],
				.resident_bytes = 100 * GOVERNOR_MIB,
				.refilled_bytes_total = heaps[i].refilled,
				.refaulted_bytes_total = heaps[i].refaulted,
			};
		}
		if (sample % TICK_SAMPLES == 0) {
			now_ns += TICK_NS;
			market_tick(&market, clients, MIX_PROGRAMS, now_ns, TICK_NS);
			assert_true(market_is_valid(&market, clients, MIX_PROGRAMS));
		}
	}
	for (size_t i = 0; i < MIX_PROGRAMS; i++)
		sum += heaps[i].refaulted;
	return sum;
}

static void it_beats_equal_shares(void **state)
{
	static const uint64_t slacks_mib[] = {64, 96, 128, 192, 256, 384};
	double product = 1;

	(void)state;
	for (size_t i = 0; i < UNIT_COUNT(slacks_mib); i++) {
		uint64_t equal = refaults_at(slacks_mib[i] * GOVERNOR_MIB, false);
		uint64_t market = refaults_at(slacks_mib[i] * GOVERNOR_MIB, true);

		print_message("slack %3llu MiB: refaults %6llu MiB by equal shares, %6llu by the "
			      "market\n",
			      (unsigned long long)slacks_mib[i],
			      (unsigned long long)(equal / GOVERNOR_MIB),
			      (unsigned long long)(market / GOVERNOR_MIB));
		product *= (double)market / (double)equal;
	}
	/* In the geometric mean: 0.9 to the power of six. */
	assert_true(product < 0.531441);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_beats_equal_shares),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
