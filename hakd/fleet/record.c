#include "fleet/record.h"

#include "proto/page.h"

#include <string.h>

static void save_table(void *context, struct state_writer *writer)
{
	const struct table *table = ((struct record *)context)->table;

	state_put_numbers(writer, table->registrations, REGISTRATION_COUNT);
	state_put(writer, table->implausible_total);
	state_put(writer, table->torn_total);
}

static void restore_table(void *context, struct hak_wire *reader)
{
	struct table *table = ((struct record *)context)->table;

	state_get_numbers(reader, table->registrations, REGISTRATION_COUNT);
	table->implausible_total = state_get(reader);
	table->torn_total = state_get(reader);
}

static void save_groups(void *context, struct state_writer *writer)
{
	const struct group *group = ((struct record *)context)->table->groups.by_name;

	for (; group != NULL; group = group->hh.next) {
		size_t begin = state_begin_record(writer);

		state_put_string(writer, group->name);
		state_put_numbers(writer, group->departed, HAK_METRIC_COUNT);
		state_put(writer, group->process_count == 0 ? group->empty_since_ns : 0);
		state_put(writer, group->ledger.exceeded_ns);
		state_put(writer, group->released_bytes);
		state_end_record(writer, begin);
	}
}

static void restore_group(struct table *table, struct hak_wire *record, uint64_t now_ns)
{
	char name[sizeof((struct group *)0)->name];
	uint64_t empty_since_ns;
	struct group *group;

	state_get_string(record, name, sizeof name);
	group = groups_restore(&table->groups, name, now_ns);
	if (group == NULL)
		return;
	state_get_numbers(record, group->departed, HAK_METRIC_COUNT);
	empty_since_ns = state_get(record);
	group->ledger.exceeded_ns = state_get(record);
	group->released_bytes = state_get(record);
	if (empty_since_ns != 0)
		group->empty_since_ns = empty_since_ns;
}

static void restore_groups(void *context, struct hak_wire *reader)
{
	uint64_t now_ns = clock_now_ns();
	struct hak_wire record;

	while (state_get_record(reader, &record))
		restore_group(((struct record *)context)->table, &record, now_ns);
}

static void save_overrides(void *context, struct state_writer *writer)
{
	const struct overrides *overrides = &((struct record *)context)->table->allot.overrides;

	for (size_t i = 0; i < overrides->count; i++) {
		const struct override *item = &overrides->items[i];
		size_t begin = state_begin_record(writer);

		state_put_string(writer, item->key.group);
		state_put(writer, (uint64_t)item->key.pid);
		state_put(writer, item->key.start_ticks);
		state_put(writer, item->has_soft);
		state_put(writer, item->has_hard);
		state_put(writer, item->has_on_limit);
		state_put(writer, item->soft_bytes);
		state_put(writer, item->hard_bytes);
		state_put(writer, item->fails);
		state_put(writer, item->expires_ns);
		state_end_record(writer, begin);
	}
}

static void restore_overrides(void *context, struct hak_wire *reader)
{
	struct overrides *overrides = &((struct record *)context)->table->allot.overrides;
	struct hak_wire record;

	while (state_get_record(reader, &record)) {
		struct override item = {.key = {.pid = 0}};

		state_get_string(&record, item.key.group, sizeof item.key.group);
		item.key.pid = (pid_t)state_get(&record);
		item.key.start_ticks = state_get(&record);
		item.has_soft = state_get(&record) != 0;
		item.has_hard = state_get(&record) != 0;
		item.has_on_limit = state_get(&record) != 0;
		item.soft_bytes = state_get(&record);
		item.hard_bytes = state_get(&record);
		item.fails = state_get(&record) != 0;
		item.expires_ns = state_get(&record);
		overrides_set(overrides, &item);
	}
}

static void put_identity(struct state_writer *writer, const struct process_identity *identity)
{
	state_put(writer, identity->start_ticks);
	state_put_string(writer, identity->comm);
	state_put_string(writer, identity->exe);
	state_put_string(writer, identity->cgroup);
	state_put_string(writer, identity->unit);
	state_put_string(writer, identity->group);
}

static void get_identity(struct hak_wire *record, struct process_identity *identity)
{
	identity->start_ticks = state_get(record);
	state_get_string(record, identity->comm, sizeof identity->comm);
	state_get_string(record, identity->exe, sizeof identity->exe);
	state_get_string(record, identity->cgroup, sizeof identity->cgroup);
	state_get_string(record, identity->unit, sizeof identity->unit);
	state_get_string(record, identity->group, sizeof identity->group);
}

#define RETIRED_WORDS 6

/* The group that it is watched in is not kept: the next hakd looks it up. */
static void put_history(struct state_writer *writer, const struct history *history)
{
	for (enum history_method i = 0; i < HISTORY_METHODS; i++) {
		const struct history_turn *turn = &history->turns[i];

		state_put(writer, turn->acted_ns);
		state_put(writer, turn->resident_bytes);
		state_put(writer, turn->released_bytes);
		state_put(writer, turn->refaulted_base);
		state_put(writer, turn->backoff);
		state_put(writer, turn->is_drained);
		state_put(writer, turn->is_settled);
	}
	/* What earlier daemons had of a market for slack. */
	for (int i = 0; i < RETIRED_WORDS; i++)
		state_put(writer, 0);
}

static void get_history(struct hak_wire *record, struct history *history)
{
	for (enum history_method i = 0; i < HISTORY_METHODS; i++) {
		struct history_turn *turn = &history->turns[i];

		turn->acted_ns = state_get(record);
		turn->resident_bytes = state_get(record);
		turn->released_bytes = state_get(record);
		turn->refaulted_base = state_get(record);
		turn->backoff = (uint32_t)state_get(record);
		turn->is_drained = state_get(record) != 0;
		turn->is_settled = state_get(record) != 0;
	}
	for (int i = 0; i < RETIRED_WORDS; i++)
		(void)state_get(record);
}

/* is_expected: what it has counted is with its group already. */
static void put_past(struct state_writer *writer, const struct past *past, bool is_expected)
{
	state_put(writer, is_expected);
	state_put(writer, (uint64_t)past->pid);
	state_put(writer, past->uid);
	put_identity(writer, &past->identity);
	state_put_string(writer, past->group);
	state_put(writer, past->hello.superslab_count);
	state_put(writer, past->hello.region_base);
	state_put(writer, past->hello.library_version);
	state_put(writer, past->device);
	state_put(writer, past->inode);
	state_put(writer, (uint64_t)past->registered);
	state_put(writer, past->registered_ns);
	state_put_numbers(writer, past->counted, HAK_METRIC_COUNT);
	put_history(writer, &past->history);
	state_put(writer, past->release_request);
	state_put(writer, past->release_ack);
	state_put(writer, past->release_bytes);
}

/* False: it is not whole, which no hakd has written. */
static bool get_past(struct hak_wire *record, struct past *past, bool *is_expected)
{
	*past = (struct past){.hello = {.version = HAK_HELLO_VERSION, .bytes = HAK_HELLO_BYTES}};
	*is_expected = state_get(record) != 0;
	past->pid = (pid_t)state_get(record);
	past->uid = (uid_t)state_get(record);
	get_identity(record, &past->identity);
	state_get_string(record, past->group, sizeof past->group);
	past->hello.superslab_count = (uint32_t)state_get(record);
	past->hello.region_base = state_get(record);
	past->hello.library_version = state_get(record);
	past->device = state_get(record);
	past->inode = state_get(record);
	past->registered = (time_t)state_get(record);
	past->registered_ns = state_get(record);
	state_get_numbers(record, past->counted, HAK_METRIC_COUNT);
	get_history(record, &past->history);
	past->release_request = state_get(record);
	past->release_ack = state_get(record);
	past->release_bytes = state_get(record);
	return !record->overrun && past->pid > 0 && past->group[0] != '\0' &&
	       past->hello.superslab_count <= HAK_PAGE_SUPERSLABS_MAX;
}

static void put_memos(struct state_writer *writer, const struct rows *rows)
{
	state_put(writer, rows->memo_count);
	for (size_t i = 0; i < rows->memo_count; i++) {
		state_put(writer, rows->memos[i].superslab);
		state_put(writer, rows->memos[i].bytes);
		state_put(writer, rows->memos[i].sequence);
	}
}

static void get_memos(struct hak_wire *record, struct client *client)
{
	uint64_t count = state_get(record);

	for (uint64_t i = 0; i < count; i++) {
		struct rows_memo memo;

		memo.superslab = (uint32_t)state_get(record);
		memo.bytes = (uint32_t)state_get(record);
		memo.sequence = state_get(record);
		if (record->overrun || memo.superslab >= client->rows.superslab_count ||
		    !rows_remember(&client->rows, &memo))
			break;
	}
	rows_review(&client->rows);
	client_count(client);
}

static void save_clients(void *context, struct state_writer *writer)
{
	const struct table *table = ((struct record *)context)->table;
	const struct expected *expected;
	const struct client *client;
	struct past past;
	size_t begin;

	for (client = table->by_pid; client != NULL; client = client->hh.next) {
		begin = state_begin_record(writer);
		past_of(client, &past);
		put_past(writer, &past, false);
		put_memos(writer, &client->rows);
		state_end_record(writer, begin);
	}
	TAILQ_FOREACH(expected, &table->pasts.queue, queue)
	{
		begin = state_begin_record(writer);
		put_past(writer, &expected->past, true);
		state_put(writer, 0);
		state_end_record(writer, begin);
	}
}

static void restore_client(struct record *record, struct hak_wire *bytes, uint64_t now_ns)
{
	struct client *client = NULL;
	struct past past;
	bool is_expected;
	int memfd = -1;

	if (!get_past(bytes, &past, &is_expected))
		return;
	if (is_expected) {
		pasts_add(&record->table->pasts, &past, now_ns);
		return;
	}
	if (record->take_page != NULL)
		memfd = record->take_page(record->context, past.device, past.inode);
	if (memfd >= 0)
		client = table_resume(record->table, &past, memfd, now_ns);
	if (client != NULL)
		get_memos(bytes, client);
	else
		table_expect(record->table, &past, now_ns);
}

static void restore_clients(void *context, struct hak_wire *reader)
{
	uint64_t now_ns = clock_now_ns();
	struct hak_wire record;

	while (state_get_record(reader, &record))
		restore_client(context, &record, now_ns);
}

void record_keep(struct record *record, struct state *state)
{
	const struct state_keeper keepers[] = {
		{STATE_TABLE, record, save_table, restore_table},
		{STATE_GROUPS, record, save_groups, restore_groups},
		{STATE_OVERRIDES, record, save_overrides, restore_overrides},
		/* After groups, which they are in. */
		{STATE_CLIENTS, record, save_clients, restore_clients},
	};

	for (size_t i = 0; i < sizeof keepers / sizeof keepers[0]; i++)
		state_keep(state, &keepers[i]);
}
