/* market.h - who may keep how much free memory: one slack for the host, shared by what it is worth.
 *
 * A heap's slack is what it keeps beyond what is live. It is worth what passes through it: churn is
 * the bytes a second that threads take from slabs, and those that had to be faulted in again within
 * 10 s of being given back. Of the host's slack budget S each client in the market is to have
 *
 *     S x its churn / the churn of all, and MARKET_FLOOR_BYTES at least
 *
 * What nobody has is given out at once. For the rest targets go there in steps: in one tick
 * MARKET_TICK_SHARE of S is taken from others at most, in a minute MARKET_MINUTE_SHARE. Floors are
 * given at once: they are small, and what they take from others is not counted as a move. A share
 * that a client need not move to (MARKET_BAND) is left as it is, so that targets stand still where
 * churn does.
 *
 * Not in the market, with a target of 0, are clients that have less than GOVERNOR_SMALL_BYTES. A
 * client whose releases are followed by refaults keeps what it has for MARKET_BACKOFF_NS.
 *
 * Invariants, by market_is_valid() and the unit test: the sum of targets <= S; no target below the
 * floor, or below an equal share of S where not all floors fit; at constant churn no target turns.
 *
 * Measured on eight programs that burst in turns (test_market_mix.c): 9 % fewer refaults than by
 * equal shares where the slack is 64 MiB, 31 % where it is 384. With what nobody has given out as
 * slowly as the rest it was 1 % to 71 % more.
 *
 * Pure: no clock, no I/O; time is the caller's. Source: the credits and the limits of motion of
 * CacheLib's pool rebalancing and memory monitor (CacheLib, OSDI 2020).
 */
#ifndef HAKD_GOVERN_MARKET_H
#define HAKD_GOVERN_MARKET_H

#include "govern/governor.h"

#define MARKET_FLOOR_BYTES (4 * GOVERNOR_MIB)
#define MARKET_TICK_SHARE 5 /* hundredths of S */
#define MARKET_MINUTE_SHARE 20
#define MARKET_MINUTE_TICKS 30 /* of 2 s */
#define MARKET_BAND 32	       /* a 32nd of the target, or of the floor where that is more */
#define MARKET_BACKOFF_NS (30 * CLOCK_SECOND_NS)

/* Churn is a fifth what the last tick had and for the rest what it was: half of it is of the last
 * 6 s. */
#define MARKET_SMOOTHING 5

/* A client as it comes to a tick. */
struct market_client {
	struct history_share *share;
	uint64_t resident_bytes;
	uint64_t refilled_bytes_total;
	uint64_t refaulted_bytes_total;
	bool is_exempt;
	uint64_t wanted_bytes; /* these are of the tick under way */
	int64_t change_bytes;
};

struct market {
	uint64_t slack_bytes;		     /* S; may change from tick to tick */
	uint64_t moved[MARKET_MINUTE_TICKS]; /* bytes, by tick */
	size_t tick_count;
};

/* Moves all targets one tick on. tick_ns is the time since the last one. */
void market_tick(struct market *market, struct market_client *clients, size_t client_count,
		 uint64_t now_ns, uint64_t tick_ns);

bool market_is_valid(const struct market *market, const struct market_client *clients,
		     size_t client_count);

#endif
