#include "fleet/share.h"

static uint64_t floor_of(uint64_t budget_bytes, uint64_t count)
{
	uint64_t half = count > 0 ? budget_bytes / count / 2 : 0;

	return half < SHARE_FLOOR_BYTES ? half : SHARE_FLOOR_BYTES;
}

struct share share_begin(uint64_t budget_bytes, uint64_t count, unsigned __int128 weight_sum)
{
	return (struct share){
		.budget_bytes = budget_bytes,
		.floor_bytes = floor_of(budget_bytes, count),
		.count = count,
		.is_equal = weight_sum == 0,
		.weight_sum = weight_sum != 0 ? weight_sum : count,
	};
}

/* rest x part / whole without more than 128 bits: whole is less than 2^64 x 2^15, as there are no
 * more clients, so the quotient of it and 2^15 is small enough to be multiplied by. */
static uint64_t portion(uint64_t rest, unsigned __int128 part, unsigned __int128 whole)
{
	while (whole >> 64 != 0) {
		whole >>= 1;
		part >>= 1;
	}
	return (uint64_t)(rest * part / whole);
}

uint64_t share_next(struct share *share, uint64_t weight)
{
	uint64_t rest = share->budget_bytes - share->count * share->floor_bytes;
	unsigned __int128 before = share->weight_dealt;
	unsigned __int128 after = before + (share->is_equal ? 1 : weight);
	uint64_t bytes;

	if (after > share->weight_sum)
		after = share->weight_sum;
	share->weight_dealt = after;
	/* The difference of two sums, so that what is rounded off goes to the next. */
	bytes = share->floor_bytes + portion(rest, after, share->weight_sum) -
		portion(rest, before, share->weight_sum);
	return bytes != 0 ? bytes : 1;
}

uint64_t share_newcomer(uint64_t budget_bytes, uint64_t count, uint64_t held_bytes)
{
	uint64_t bytes = floor_of(budget_bytes, count + 1);

	if (held_bytes < budget_bytes && budget_bytes - held_bytes > bytes)
		bytes = budget_bytes - held_bytes;
	return budget_bytes == 0 || bytes != 0 ? bytes : 1;
}
