#include "store.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void store_init(struct store *store)
{
	*store = (struct store){.state = {.fd = -1}};
	state_init(&store->state);
}

void store_deinit(struct store *store)
{
	store_save(store);
	state_deinit(&store->state);
}

/* -1: it cannot be had, which has been said. */
static int open_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);

	if (fd < 0)
		log_say(LOG_WARNING, "Cannot open %s: %s. Nothing will outlive this daemon.", path,
			strerror(errno));
	return fd;
}

static void say_found(const struct store *store, enum state_found found, const char *where)
{
	const struct table *table = store->record.table;

	switch (found) {
	case STATE_NONE:
		break;
	case STATE_WHOLE:
		log_say(LOG_INFO, "Went on with %zu clients; %u more are to register again.",
			table->client_count, HASH_COUNT(table->pasts.by_pid));
		break;
	case STATE_TORN:
		log_say(LOG_WARNING, "What the last daemon has left in %s is damaged.", where);
		break;
	case STATE_OLD:
		log_say(LOG_INFO, "What is in %s is of another boot, or version of hakd.", where);
		break;
	case STATE_FOREIGN:
		log_say(LOG_WARNING, "%s is not hakd's. Nothing will outlive this daemon.", where);
		break;
	}
}

void store_restore(struct store *store, const struct store_parts *parts, const char *runtime_dir)
{
	char path[4096];
	enum state_found found;
	int fd;

	store->record = (struct record){.table = parts->table};
	record_keep(&store->record, &store->state);
	keep_sections(&store->state, parts->effects, parts->advisor);
	snprintf(path, sizeof path, "%s/state", runtime_dir);
	fd = open_file(path);
	if (fd < 0)
		return;
	found = state_take(&store->state, fd);
	say_found(store, found, path);
	if (found == STATE_WHOLE)
		table_deal(parts->table, clock_now_ns());
	store_save(store);
}

void store_save(struct store *store)
{
	state_save(&store->state);
}
