#include "govern/keep.h"

/* A table of numbers may grow in both directions from one hakd to the next. */
static void put_table(struct state_writer *writer, const uint64_t *numbers, size_t rows,
		      size_t columns)
{
	state_put(writer, rows);
	for (size_t i = 0; i < rows; i++)
		state_put_numbers(writer, numbers + i * columns, columns);
}

static void get_table(struct hak_wire *reader, uint64_t *numbers, size_t rows, size_t columns)
{
	uint64_t there = state_get(reader);

	for (uint64_t i = 0; i < there && !reader->overrun; i++)
		state_get_numbers(reader, numbers + (i < rows ? i : 0) * columns,
				  i < rows ? columns : 0);
}

static void save_action(struct state_writer *writer, const struct actions_record *record)
{
	size_t begin = state_begin_record(writer);

	state_put(writer, (uint64_t)record->when);
	state_put(writer, (uint64_t)record->action.pid);
	state_put(writer, record->action.method);
	state_put(writer, record->action.trigger);
	state_put(writer, record->action.level);
	state_put(writer, record->action.target_bytes);
	state_put(writer, record->action.is_dry_run);
	state_put(writer, record->result);
	state_put(writer, record->released_bytes);
	state_put(writer, record->duration_us);
	state_put_string(writer, record->unit);
	state_put_string(writer, record->command);
	state_end_record(writer, begin);
}

/* False: it has a word that this hakd does not know. */
static bool restore_action(struct hak_wire *bytes, struct actions_record *record)
{
	uint64_t method, trigger, level, result;

	record->when = (time_t)state_get(bytes);
	record->action.pid = (pid_t)state_get(bytes);
	method = state_get(bytes);
	trigger = state_get(bytes);
	level = state_get(bytes);
	record->action.target_bytes = state_get(bytes);
	record->action.is_dry_run = state_get(bytes) != 0;
	result = state_get(bytes);
	record->released_bytes = state_get(bytes);
	record->duration_us = state_get(bytes);
	state_get_string(bytes, record->unit, sizeof record->unit);
	state_get_string(bytes, record->command, sizeof record->command);
	if (bytes->overrun || method >= HISTORY_METHODS || trigger >= GOVERNOR_TRIGGERS ||
	    level >= LEVEL_COUNT || result >= ACTIONS_RESULTS)
		return false;
	record->action.method = (enum history_method)method;
	record->action.trigger = (enum governor_trigger)trigger;
	record->action.level = (enum level)level;
	record->result = (enum actions_result)result;
	return true;
}

static void save_effects(void *context, struct state_writer *writer)
{
	const struct effects *effects = context;
	const struct actions *actions = &effects->actions;
	const struct actions_record *record;
	size_t count = 0;

	state_put(writer, effects->paused_until_ns);
	state_put(writer, actions->count);
	put_table(writer, actions->releases[0], GOVERNOR_TRIGGERS, HISTORY_METHODS);
	put_table(writer, actions->released_bytes[0], GOVERNOR_TRIGGERS, HISTORY_METHODS);
	state_put_numbers(writer, actions->results, ACTIONS_RESULTS);
	put_table(writer, effects->pressure.event_totals[0], PRESSURE_SCOPES, LEVEL_COUNT);
	state_put(writer, effects->pressure.overflow_total);
	while (actions_before(actions, count) != NULL)
		count++;
	while ((record = count > 0 ? actions_before(actions, --count) : NULL) != NULL)
		save_action(writer, record);
}

static void restore_effects(void *context, struct hak_wire *reader)
{
	struct effects *effects = context;
	struct actions *actions = &effects->actions;
	struct actions_record records[ACTIONS_KEPT];
	struct hak_wire bytes;
	size_t count = 0;

	effects->paused_until_ns = state_get(reader);
	actions->count = state_get(reader);
	get_table(reader, actions->releases[0], GOVERNOR_TRIGGERS, HISTORY_METHODS);
	get_table(reader, actions->released_bytes[0], GOVERNOR_TRIGGERS, HISTORY_METHODS);
	state_get_numbers(reader, actions->results, ACTIONS_RESULTS);
	get_table(reader, effects->pressure.event_totals[0], PRESSURE_SCOPES, LEVEL_COUNT);
	effects->pressure.overflow_total = state_get(reader);
	while (count < ACTIONS_KEPT && state_get_record(reader, &bytes))
		count += restore_action(&bytes, &records[count]);
	/* The oldest first, to where the count says that they are. */
	if (actions->count < count)
		actions->count = count;
	actions->first = actions->count - count;
	for (size_t i = 0; i < count; i++)
		actions->kept[(actions->count - count + i) % ACTIONS_KEPT] = records[i];
}

static void save_advisor(void *context, struct state_writer *writer)
{
	const struct advisor *advisor = context;

	state_put_numbers(writer, advisor->advised_bytes, HAK_RECLAIM_ADVICE_COUNT);
	state_put_numbers(writer, advisor->dropped_bytes, HAK_RECLAIM_ADVICE_COUNT);
	state_put(writer, advisor->swapped_bytes);
	state_put(writer, advisor->refused_count);
}

static void restore_advisor(void *context, struct hak_wire *reader)
{
	struct advisor *advisor = context;

	state_get_numbers(reader, advisor->advised_bytes, HAK_RECLAIM_ADVICE_COUNT);
	state_get_numbers(reader, advisor->dropped_bytes, HAK_RECLAIM_ADVICE_COUNT);
	advisor->swapped_bytes = state_get(reader);
	advisor->refused_count = state_get(reader);
}

void keep_sections(struct state *state, struct effects *effects, struct advisor *advisor)
{
	const struct state_keeper keepers[] = {
		{STATE_EFFECTS, effects, save_effects, restore_effects},
		{STATE_ADVISOR, advisor, save_advisor, restore_advisor},
	};

	for (size_t i = 0; i < sizeof keepers / sizeof keepers[0]; i++)
		state_keep(state, &keepers[i]);
}
