#include "govern/level.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In thousandths, by level; what calls for it anew, and what keeps it. */
struct marks {
	uint64_t rise;
	uint64_t stay;
};

static const struct marks room_marks[LEVEL_COUNT] = {
	[LEVEL_SOME] = {900, 850},
	[LEVEL_FULL] = {960, 920},
};

static const struct marks stall_marks[LEVEL_COUNT] = {
	[LEVEL_SOME] = {50, 25},
	[LEVEL_FULL] = {100, 50},
};

/* Version 1 says "no limit" as the largest number of whole pages. */
#define UNLIMITED_BYTES ((uint64_t)1 << 62)

const char *level_text(enum level level)
{
	static const char *const texts[LEVEL_COUNT] = {"none", "some", "full"};

	return texts[level];
}

bool level_parse_stalls(const char *text, struct level_stalls *stalls)
{
	static const char some_line[] = "some avg10=", full_line[] = "\nfull avg10=";
	const char *some = strstr(text, some_line), *full = strstr(text, full_line);
	struct level_stalls read = {0};

	if (some == NULL || sscanf(some, "some %*s %*s %*s total=%" SCNu64, &read.some_us) != 1)
		return false;
	/* Before Linux 5.13 a line may be missing; memory has had both since the beginning. */
	if (full != NULL && sscanf(full + 1, "full %*s %*s %*s total=%" SCNu64, &read.full_us) != 1)
		return false;
	*stalls = read;
	return true;
}

bool level_parse_bytes(const char *text, uint64_t *bytes)
{
	char *end;

	if (strncmp(text, "max", 3) == 0) {
		*bytes = UINT64_MAX;
		return true;
	}
	if (text[0] < '0' || text[0] > '9')
		return false;
	*bytes = strtoull(text, &end, 10);
	if (*bytes >= UNLIMITED_BYTES)
		*bytes = UINT64_MAX;
	return *end == '\n' || *end == '\0';
}

bool level_parse_key(const char *text, const char *key, uint64_t *number)
{
	size_t length = strlen(key);
	const char *line = text;

	while (line != NULL) {
		if (strncmp(line, key, length) == 0 &&
		    sscanf(line + length, " %" SCNu64, number) == 1)
			return true;
		line = strchr(line, '\n');
		line = line != NULL ? line + 1 : NULL;
	}
	return false;
}

bool level_parse_meminfo(const char *text, struct level_room *room)
{
	uint64_t total_kib, available_kib;

	if (!level_parse_key(text, "MemTotal:", &total_kib) ||
	    !level_parse_key(text, "MemAvailable:", &available_kib) || available_kib > total_kib ||
	    total_kib > UNLIMITED_BYTES / 1024)
		return false;
	room->limit_bytes = total_kib * 1024;
	room->used_bytes = room->held_bytes = (total_kib - available_kib) * 1024;
	return true;
}

static uint64_t thousandths(uint64_t part, uint64_t whole)
{
	return whole == 0 ? 0 : (uint64_t)((double)part * 1000 / (double)whole);
}

/* The highest level whose mark is reached: the lower mark for what is the level already. */
static enum level reach(const struct marks marks[LEVEL_COUNT], uint64_t some, uint64_t full,
			enum level now)
{
	const struct marks *some_marks = &marks[LEVEL_SOME], *full_marks = &marks[LEVEL_FULL];

	if (full >= (now >= LEVEL_FULL ? full_marks->stay : full_marks->rise))
		return LEVEL_FULL;
	if (some >= (now >= LEVEL_SOME ? some_marks->stay : some_marks->rise))
		return LEVEL_SOME;
	return LEVEL_NONE;
}

uint64_t level_rise(uint64_t before, uint64_t after)
{
	return after > before ? after - before : 0;
}

static void judge_stalls(struct level_judge *judge, const struct level_sample *sample)
{
	uint64_t passed_us;

	if (judge->window_ns == 0 || !sample->has_stalls) {
		judge->stalled = LEVEL_NONE;
	} else if (sample->now_ns - judge->window_ns >= LEVEL_WINDOW_NS) {
		const struct level_stalls *before = &judge->window_stalls;

		passed_us = (sample->now_ns - judge->window_ns) / 1000;
		judge->stalled = reach(
			stall_marks,
			thousandths(level_rise(before->some_us, sample->stalls.some_us), passed_us),
			thousandths(level_rise(before->full_us, sample->stalls.full_us), passed_us),
			judge->level);
	} else {
		return;
	}
	/* A window begins with what could be read. */
	judge->window_ns = sample->has_stalls ? sample->now_ns : 0;
	judge->window_stalls = sample->stalls;
}

enum level level_judge(struct level_judge *judge, const struct level_sample *sample)
{
	uint64_t used = thousandths(sample->room.used_bytes, sample->room.limit_bytes);
	uint64_t held = thousandths(sample->room.held_bytes, sample->room.limit_bytes);
	enum level wanted = reach(room_marks, used, used, judge->level);

	judge_stalls(judge, sample);
	if (sample->room.limit_bytes == 0 || held >= 500) {
		if (judge->stalled > wanted)
			wanted = judge->stalled;
		if (sample->told > wanted)
			wanted = sample->told;
	}
	judge->is_pressing = wanted != LEVEL_NONE;
	if (wanted >= judge->level) {
		judge->level = wanted;
		judge->called_ns = sample->now_ns;
	} else if (sample->now_ns - judge->called_ns >= LEVEL_CALM_NS) {
		judge->level = wanted;
		judge->called_ns = sample->now_ns;
	}
	return judge->level;
}
