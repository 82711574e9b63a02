#include "fleet/overrides.h"

#include <string.h>

static bool is_same(const struct override_key *a, const struct override_key *b)
{
	if (a->pid != b->pid)
		return false;
	return a->pid != 0 ? a->start_ticks == b->start_ticks : strcmp(a->group, b->group) == 0;
}

/* The place of the key; `count` where there is none. */
static size_t place_of(const struct overrides *overrides, const struct override_key *key)
{
	size_t i = 0;

	while (i < overrides->count && !is_same(&overrides->items[i].key, key))
		i++;
	return i;
}

static void drop(struct overrides *overrides, size_t place)
{
	overrides->items[place] = overrides->items[--overrides->count];
}

bool overrides_set(struct overrides *overrides, const struct override *wanted)
{
	size_t place = place_of(overrides, &wanted->key);
	struct override *item;

	if (place == OVERRIDES_MAX)
		return false;
	item = &overrides->items[place];
	if (place == overrides->count) {
		*item = *wanted;
		overrides->count++;
		return true;
	}
	if (wanted->has_soft) {
		item->has_soft = true;
		item->soft_bytes = wanted->soft_bytes;
	}
	if (wanted->has_hard) {
		item->has_hard = true;
		item->hard_bytes = wanted->hard_bytes;
	}
	if (wanted->has_on_limit) {
		item->has_on_limit = true;
		item->fails = wanted->fails;
	}
	item->expires_ns = wanted->expires_ns;
	return true;
}

bool overrides_clear(struct overrides *overrides, const struct override_key *key)
{
	size_t place = place_of(overrides, key);

	if (place == overrides->count)
		return false;
	drop(overrides, place);
	return true;
}

const struct override *overrides_find(const struct overrides *overrides,
				      const struct override_key *key)
{
	size_t place = place_of(overrides, key);

	return place < overrides->count ? &overrides->items[place] : NULL;
}

void overrides_expire(struct overrides *overrides, uint64_t now_ns)
{
	size_t i = 0;

	while (i < overrides->count) {
		uint64_t expires_ns = overrides->items[i].expires_ns;

		if (expires_ns != 0 && now_ns >= expires_ns)
			drop(overrides, i);
		else
			i++;
	}
}
