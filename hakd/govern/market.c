#include "govern/market.h"

/* Each round fixes at least one client at the floor; nearly always two rounds do. */
#define ROUNDS_MAX 16

static uint64_t share_of(uint64_t bytes, double part, double whole)
{
	return whole <= 0 ? 0 : (uint64_t)((double)bytes * (part / whole));
}

static bool takes_part(const struct market_client *client)
{
	return !client->is_exempt && client->resident_bytes >= GOVERNOR_SMALL_BYTES;
}

static uint64_t rise(uint64_t before, uint64_t after)
{
	return after > before ? after - before : 0;
}

/* Refaults that are more than a quarter of the churn say that the target is too small already. */
static void measure(struct market_client *client, uint64_t now_ns, uint64_t tick_ns)
{
	struct history_share *share = client->share;
	uint64_t refilled = rise(share->refilled_bytes_total, client->refilled_bytes_total);
	uint64_t refaulted = rise(share->refaulted_bytes_total, client->refaulted_bytes_total);
	double churn = ((double)refilled + (double)refaulted) * 1e9 / (double)tick_ns;

	share->refilled_bytes_total = client->refilled_bytes_total;
	share->refaulted_bytes_total = client->refaulted_bytes_total;
	/* What was before it came is nobody's. */
	if (!share->is_counted) {
		share->is_counted = true;
		return;
	}
	share->churn += (churn - share->churn) / MARKET_SMOOTHING;
	if (refaulted > refilled / GOVERNOR_REFAULT_SHARE)
		share->kept_until_ns = now_ns + MARKET_BACKOFF_NS;
}

static uint64_t floor_of(const struct market *market, size_t count)
{
	uint64_t equal = count == 0 ? 0 : market->slack_bytes / count;

	return equal < MARKET_FLOOR_BYTES ? equal : MARKET_FLOOR_BYTES;
}

static size_t count_of(const struct market_client *clients, size_t client_count)
{
	size_t count = 0;

	for (size_t i = 0; i < client_count; i++)
		count += takes_part(&clients[i]);
	return count;
}

/* What each is to have in the end: those whose share is below the floor have the floor, and the
 * rest is shared by the others. */
static void want(const struct market *market, struct market_client *clients, size_t client_count,
		 uint64_t floor)
{
	for (size_t i = 0; i < client_count; i++)
		clients[i].wanted_bytes = 0;
	for (int round = 0; round < ROUNDS_MAX; round++) {
		uint64_t left = market->slack_bytes;
		bool changed = false;
		double churn = 0;

		for (size_t i = 0; i < client_count; i++) {
			if (!takes_part(&clients[i]))
				continue;
			if (clients[i].wanted_bytes == floor)
				left -= floor;
			else
				churn += clients[i].share->churn;
		}
		for (size_t i = 0; i < client_count; i++) {
			struct market_client *client = &clients[i];
			uint64_t bytes = share_of(left, client->share->churn, churn);

			if (!takes_part(client) || client->wanted_bytes == floor)
				continue;
			/* One byte more than the floor is not the floor: it is not fixed. */
			client->wanted_bytes = bytes > floor ? bytes : floor;
			changed = changed || bytes <= floor;
		}
		if (!changed)
			return;
	}
}

static uint64_t sum_targets(const struct market_client *clients, size_t client_count)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < client_count; i++)
		sum += clients[i].share->target_bytes;
	return sum;
}

/* Takes so much from what clients have above the floor, from each by its part of that. */
static void take_back(struct market_client *clients, size_t client_count, uint64_t floor,
		      uint64_t bytes)
{
	uint64_t above = 0;

	for (size_t i = 0; i < client_count; i++)
		above += rise(floor, clients[i].share->target_bytes);
	if (bytes > above)
		bytes = above;
	for (size_t i = 0; i < client_count; i++) {
		uint64_t own = rise(floor, clients[i].share->target_bytes);
		/* Rounded up: the sum must not stay above S by some bytes. */
		uint64_t part = share_of(bytes, (double)own, (double)above) + 1;

		clients[i].share->target_bytes -= part < own ? part : own;
	}
}

/* Who is new has the floor from now on, who has left has nothing; S may have shrunk, too. */
static void settle(const struct market *market, struct market_client *clients, size_t client_count,
		   uint64_t floor)
{
	uint64_t sum;

	for (size_t i = 0; i < client_count; i++) {
		struct history_share *share = clients[i].share;

		if (!takes_part(&clients[i]))
			share->target_bytes = 0;
		else if (share->target_bytes < floor)
			share->target_bytes = floor;
	}
	sum = sum_targets(clients, client_count);
	if (sum > market->slack_bytes)
		take_back(clients, client_count, floor, sum - market->slack_bytes);
}

/* By how much a target is to change: nothing within the band, and no less where refaults say so. */
static int64_t change_of(const struct market_client *client, uint64_t floor, uint64_t now_ns)
{
	uint64_t target = client->share->target_bytes;
	uint64_t band = (target > floor ? target : floor) / MARKET_BAND;
	int64_t change = (int64_t)(client->wanted_bytes - target);

	if (!takes_part(client) || (uint64_t)(change < 0 ? -change : change) <= band)
		return 0;
	return change < 0 && now_ns < client->share->kept_until_ns ? 0 : change;
}

/* What may move in this tick, of the tick's part and the minute's. */
static uint64_t allowance(const struct market *market)
{
	uint64_t tick = market->slack_bytes / 100 * MARKET_TICK_SHARE;
	uint64_t minute = market->slack_bytes / 100 * MARKET_MINUTE_SHARE, moved = 0;

	for (size_t i = 0; i < MARKET_MINUTE_TICKS; i++)
		moved += market->moved[i];
	if (moved >= minute)
		return 0;
	return minute - moved < tick ? minute - moved : tick;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* All that are to grow get the same part of it. What nobody has is given out at once; for the rest
 * all that are to shrink give the same part, within what may move. Returns what has moved. */
static uint64_t move(const struct market *market, struct market_client *clients,
		     size_t client_count, uint64_t floor, uint64_t now_ns)
{
	uint64_t up = 0, down = 0, spare, grown, shrunk;

	for (size_t i = 0; i < client_count; i++) {
		int64_t change = change_of(&clients[i], floor, now_ns);

		clients[i].change_bytes = change;
		up += change > 0 ? (uint64_t)change : 0;
		down += change < 0 ? (uint64_t)-change : 0;
	}
	spare = rise(sum_targets(clients, client_count), market->slack_bytes);
	shrunk = least(least(rise(spare, up), down), allowance(market));
	grown = least(up, spare + shrunk);
	for (size_t i = 0; i < client_count; i++) {
		uint64_t *target = &clients[i].share->target_bytes;
		int64_t change = clients[i].change_bytes;

		/* Down is rounded up, so that the sum does not pass S by some bytes. */
		if (change > 0)
			*target += share_of(grown, (double)change, (double)up);
		else if (change < 0 && shrunk != 0)
			*target -= least(share_of(shrunk, (double)-change, (double)down) + 1,
					 (uint64_t)-change);
	}
	return shrunk;
}

void market_tick(struct market *market, struct market_client *clients, size_t client_count,
		 uint64_t now_ns, uint64_t tick_ns)
{
	uint64_t floor = floor_of(market, count_of(clients, client_count));

	if (tick_ns == 0)
		return;
	for (size_t i = 0; i < client_count; i++)
		measure(&clients[i], now_ns, tick_ns);
	settle(market, clients, client_count, floor);
	want(market, clients, client_count, floor);
	market->moved[market->tick_count % MARKET_MINUTE_TICKS] = 0;
	market->moved[market->tick_count % MARKET_MINUTE_TICKS] = move(market, clients,
								       client_count, floor, now_ns);
	market->tick_count++;
}

bool market_is_valid(const struct market *market, const struct market_client *clients,
		     size_t client_count)
{
	uint64_t floor = floor_of(market, count_of(clients, client_count));

	for (size_t i = 0; i < client_count; i++) {
		uint64_t target = clients[i].share->target_bytes;

		if (takes_part(&clients[i]) ? target < floor : target != 0)
			return false;
	}
	return sum_targets(clients, client_count) <= market->slack_bytes;
}
