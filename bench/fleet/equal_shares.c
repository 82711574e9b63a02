/* equal_shares.c - in place of hakd/govern/market.c, what the market has to be better than: of the
 * slack each client that takes part has the same. For bench/fleet/market alone. */
#include "govern/market.h"

static bool takes_part(const struct market_client *client)
{
	return !client->is_exempt && client->resident_bytes >= GOVERNOR_SMALL_BYTES;
}

void market_tick(struct market *market, struct market_client *clients, size_t client_count,
		 uint64_t now_ns, uint64_t tick_ns)
{
	uint64_t count = 0;

	(void)now_ns;
	(void)tick_ns;
	for (size_t i = 0; i < client_count; i++)
		count += takes_part(&clients[i]);
	for (size_t i = 0; i < client_count; i++)
		clients[i].share->target_bytes = takes_part(&clients[i])
							 ? market->slack_bytes / count
							 : 0;
}

bool market_is_valid(const struct market *market, const struct market_client *clients,
		     size_t client_count)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < client_count; i++)
		sum += clients[i].share->target_bytes;
	return sum <= market->slack_bytes;
}
