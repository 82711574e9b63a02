/* json.c - hak_stats_get()'s numbers as text, RFC 8259, into the caller's memory and none of ours.
 * */
#include "govern/stats.h"

#include <string.h>

struct text {
	char *start;
	size_t bytes; /* room, with the NUL */
	size_t used;  /* what there would be with all the room in the world */
};

static void put(struct text *text, const char *words)
{
	for (; *words != '\0'; words++, text->used++)
		if (text->used + 1 < text->bytes)
			text->start[text->used] = *words;
}

static void put_number(struct text *text, uint64_t number)
{
	char digits[21];
	size_t at = sizeof digits - 1;

	digits[at] = '\0';
	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number != 0);
	put(text, digits + at);
}

static void put_field(struct text *text, const char *separator, const char *name, uint64_t number)
{
	put(text, separator);
	put(text, "\"");
	put(text, name);
	put(text, "\":");
	put_number(text, number);
}

static void put_classes(struct text *text, const struct hak_stats *stats)
{
	const char *separator = "";

	put(text, ",\"classes\":[");
	for (unsigned i = 1; i < stats->class_count; i++) {
		if (stats->slab_count_by_class[i] == 0)
			continue;
		put(text, separator);
		put_field(text, "{", "block_bytes", stats->block_bytes_by_class[i]);
		put_field(text, ",", "slab_count", stats->slab_count_by_class[i]);
		put_field(text, ",", "live_count", stats->live_count_by_class[i]);
		put_field(text, ",", "cached_count", stats->cached_count_by_class[i]);
		put_field(text, ",", "free_count", stats->free_count_by_class[i]);
		put(text, "}");
		separator = ",";
	}
	put(text, "]");
}

HAK_EXPORT size_t hak_stats_json(char *text, size_t text_bytes)
{
	struct text json = {.start = text, .bytes = text_bytes};
	struct hak_stats stats;

	(void)hak_stats_get(&stats, sizeof stats);
	put_field(&json, "{", "version", stats.version);
	put_field(&json, ",", "live_bytes", stats.live_bytes);
	put_field(&json, ",", "cached_bytes", stats.cached_bytes);
	put_field(&json, ",", "free_bytes", stats.free_bytes);
	put_field(&json, ",", "metadata_bytes", stats.metadata_bytes);
	put_field(&json, ",", "huge_bytes", stats.huge_bytes);
	put_field(&json, ",", "huge_count", stats.huge_count);
	put_field(&json, ",", "huge_cached_bytes", stats.huge_cached_bytes);
	put_field(&json, ",", "superslab_open_count", stats.superslab_open_count);
	put_field(&json, ",", "superslab_peak_count", stats.superslab_peak_count);
	put_field(&json, ",", "superslab_opened_total", stats.superslab_opened_total);
	put_field(&json, ",", "free_unit_bytes", stats.free_unit_bytes);
	put_field(&json, ",", "returned_bytes", stats.returned_bytes);
	put_field(&json, ",", "misuse_count", stats.misuse_count);
	put_field(&json, ",", "lazyfree_bytes", stats.lazyfree_bytes);
	put_field(&json, ",", "hole_bytes", stats.hole_bytes);
	put_field(&json, ",", "advice_count", stats.advice_count);
	put_field(&json, ",", "advice_refused_count", stats.advice_refused_count);
	put_field(&json, ",", "advice_ns", stats.advice_ns);
	put_classes(&json, &stats);
	put(&json, "}");
	if (text_bytes != 0)
		text[json.used < text_bytes ? json.used : text_bytes - 1] = '\0';
	return json.used;
}
