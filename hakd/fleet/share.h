/* share.h - one budget for several: who of them gets how much.
 *
 * Pure. By weight (live bytes), with a floor, so that who has nothing yet is not starved:
 *
 *   floor       SHARE_FLOOR_BYTES, and half of an equal share at most
 *   share[i]    floor + (budget - count x floor) x weight[i] / sum of weights
 *   sum         exactly the budget; the rounding of one is made up for by the next
 *
 * Where all weights are 0 the shares are equal. A share of 0 would mean "no budget" to a client:
 * there is none below 1 byte, even where that makes the sum larger than the budget.
 */
#ifndef HAKD_FLEET_SHARE_H
#define HAKD_FLEET_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHARE_FLOOR_BYTES ((uint64_t)16 << 20)

/* What deals a budget out, one member after the other. */
struct share {
	uint64_t budget_bytes;
	uint64_t floor_bytes;
	uint64_t count;
	bool is_equal; /* nobody weighs anything */
	unsigned __int128 weight_sum;
	unsigned __int128 weight_dealt; /* of those that had theirs */
};

/* `weight_sum` is that of all `count` members. */
struct share share_begin(uint64_t budget_bytes, uint64_t count, unsigned __int128 weight_sum);

/* The next member's, whatever the order. Called `count` times. */
uint64_t share_next(struct share *share, uint64_t weight);

/* What one more may have, beside `count` others that hold so much, until budgets are dealt out
 * anew: what is left, and no less than the floor. 0 where the budget is 0, which is none. */
uint64_t share_newcomer(uint64_t budget_bytes, uint64_t count, uint64_t held_bytes);

/* The stricter of two budgets, of which 0 is none. */
static inline uint64_t share_stricter(uint64_t a, uint64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

#endif
