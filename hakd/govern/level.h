/* level.h - how short memory is, of what the kernel's files say.
 *
 * Two signals make a level. Room: what of a limit is used, without what the kernel would drop at
 * once; pages that were marked MADV_FREE are among those. Stalls: the share of time in which some,
 * or all, tasks waited for memory (PSI). Each has a mark above which the level rises and a lower
 * one above which it stays, so that a level does not flutter:
 *
 *              rises at      stays above
 *   some       90 % used     85 % used        full: 96 % and 92 %
 *   some       5 % stalled   2.5 % stalled    full: 10 % and 5 %
 *
 * Stalls count only while half of the limit is held: who waits for memory where there is plenty
 * of it waits at another limit, which has a judge of its own. A level falls once nothing has called
 * for it for LEVEL_CALM_NS; but `is_pressing`, for which memory is taken back, ends at once.
 *
 * Pure: texts and times are the caller's. Source: the marks by which CacheLib's memory monitor
 * gives and takes; the share is half of what systemd's $MEMORY_PRESSURE_WRITE waits for.
 */
#ifndef HAKD_GOVERN_LEVEL_H
#define HAKD_GOVERN_LEVEL_H

#include "base/clock.h"

#include <stdbool.h>
#include <stdint.h>

enum level { LEVEL_NONE, LEVEL_SOME, LEVEL_FULL, LEVEL_COUNT };

#define LEVEL_CALM_NS (2 * CLOCK_SECOND_NS)

/* The share of stalls is that of a time as long as this at least. */
#define LEVEL_WINDOW_NS (CLOCK_SECOND_NS / 5)

/* "none", "some", "full". */
const char *level_text(enum level level);

/* Microseconds that tasks have waited since boot. */
struct level_stalls {
	uint64_t some_us;
	uint64_t full_us;
};

/* What is used of what there is; limit_bytes is 0 where that is not known. */
struct level_room {
	uint64_t used_bytes; /* without what the kernel would drop at once */
	uint64_t held_bytes; /* with it; of the system, where it is always much, without */
	uint64_t limit_bytes;
};

/* Of a file "memory" of /proc/pressure, or memory.pressure. False: not such a text. */
bool level_parse_stalls(const char *text, struct level_stalls *stalls);

/* Of /proc/meminfo: all that is not available is used. False: it has no MemAvailable. */
bool level_parse_meminfo(const char *text, struct level_room *room);

/* Of a file with one number of bytes; "max", and what version 1 says for it, is UINT64_MAX. */
bool level_parse_bytes(const char *text, uint64_t *bytes);

/* The number behind a key at the begin of a line, as in memory.stat. */
bool level_parse_key(const char *text, const char *key, uint64_t *number);

/* Of counters: one that has fallen is another one's, and has not risen. */
uint64_t level_rise(uint64_t before, uint64_t after);

struct level_sample {
	uint64_t now_ns;
	bool has_stalls;
	struct level_stalls stalls;
	struct level_room room;
	enum level told; /* a trigger of the kernel's fired for it since the last sample */
};

struct level_judge {
	enum level level;
	bool is_pressing;
	uint64_t called_ns; /* when something last called for the level */
	uint64_t window_ns; /* when the window of stalls began; 0: no sample yet */
	struct level_stalls window_stalls;
	enum level stalled; /* by the last window */
};

/* The level after one sample more. Where time has not moved on, the stalls are as before. */
enum level level_judge(struct level_judge *judge, const struct level_sample *sample);

#endif
