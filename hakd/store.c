#include "store.h"

#include "base/log.h"
#include "base/manager.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATE_NAME "state"
#define PAGE_PREFIX "page."
#define LINES_BYTES 96

void store_init(struct store *store)
{
	*store = (struct store){.state = {.fd = -1}, .passed_state = -1};
	state_init(&store->state);
}

static void close_passed(struct store *store)
{
	for (size_t i = 0; i < store->passed_count; i++)
		if (store->passed[i].fd >= 0)
			close(store->passed[i].fd);
	free(store->passed);
	store->passed = NULL;
	store->passed_count = 0;
	if (store->passed_state >= 0)
		close(store->passed_state);
	store->passed_state = -1;
}

void store_deinit(struct store *store)
{
	/* Who leaves from here on leaves because hakd does. */
	if (store->record.table != NULL)
		store->record.table->dropping = NULL;
	store_save(store);
	state_deinit(&store->state);
	close_passed(store);
	free(store->gone);
	store->gone = NULL;
	store->gone_count = 0;
}

/* What is not a file, or one too many, is closed; the next hakd is passed it again. */
static void adopt_page(struct store *store, int fd)
{
	struct store_page page = {.fd = fd};
	struct stat status;

	if (store->passed == NULL)
		store->passed = calloc(STORE_PAGES_MAX, sizeof *store->passed);
	if (store->passed == NULL || store->passed_count == STORE_PAGES_MAX ||
	    fstat(fd, &status) != 0) {
		close(fd);
		return;
	}
	page.device = status.st_dev;
	page.inode = status.st_ino;
	store->passed[store->passed_count++] = page;
}

bool store_adopt(struct store *store, int fd, const char *name)
{
	store->has_manager = manager_is_there();
	if (strcmp(name, STATE_NAME) == 0) {
		if (store->passed_state >= 0)
			close(store->passed_state);
		store->passed_state = fd;
		return true;
	}
	if (strncmp(name, PAGE_PREFIX, strlen(PAGE_PREFIX)) != 0)
		return false;
	adopt_page(store, fd);
	return true;
}

static int by_inode(const void *a, const void *b)
{
	const struct store_page *left = a, *right = b;

	return (left->inode > right->inode) - (left->inode < right->inode);
}

static struct store_page *find_page(const struct store *store, ino_t inode)
{
	const struct store_page wanted = {.inode = inode};

	if (store->passed_count == 0)
		return NULL;
	return bsearch(&wanted, store->passed, store->passed_count, sizeof wanted, by_inode);
}

static int take_page(void *context, dev_t device, ino_t inode)
{
	struct store_page *page = find_page(context, inode);
	int fd;

	if (page == NULL || page->device != device)
		return -1;
	fd = page->fd;
	page->fd = -1;
	return fd;
}

/* There is always room: as many are stored or gone as there may be of both. */
static void let_go(struct store *store, ino_t inode)
{
	store->gone[store->gone_count++] = inode;
}

static void on_dropping(void *context, const struct client *client)
{
	struct store *store = context;

	if (!client->is_stored)
		return;
	store->stored_count--;
	let_go(store, client->inode);
}

/* All clients that there are have come back with their pages; the manager need not keep the others
 * any more. */
static void sort_out(struct store *store)
{
	struct table *table = store->record.table;
	struct client *client;

	for (client = table->by_pid; client != NULL; client = client->hh.next) {
		client->is_stored = true;
		store->stored_count++;
		find_page(store, client->inode)->device = 0;
	}
	for (size_t i = 0; i < store->passed_count; i++)
		if (store->passed[i].device != 0)
			let_go(store, store->passed[i].inode);
	close_passed(store);
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
	case STATE_DEADLY:
		log_say(LOG_ERR, "What is in %s has ended hakd %d times: starting without.", where,
			STATE_TRIES_MAX);
		break;
	case STATE_OLD:
		log_say(LOG_INFO, "What is in %s is of another boot, or version of hakd.", where);
		break;
	case STATE_FOREIGN:
		log_say(LOG_WARNING, "%s is not hakd's%s.", where,
			store->has_manager ? "" : ". Nothing will outlive this daemon");
		break;
	}
}

static void take_file(struct store *store, const char *runtime_dir)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof path, "%s/state", runtime_dir);
	fd = open_file(path);
	if (fd >= 0)
		say_found(store, state_take(&store->state, fd), path);
}

/* What the manager has, or else a new one. */
static void take_memfd(struct store *store)
{
	int fd = store->passed_state;
	enum state_found found;

	store->passed_state = -1;
	if (fd >= 0) {
		found = state_take(&store->state, fd);
		say_found(store, found, "the service manager's descriptor");
		store->has_stored_state = found != STATE_FOREIGN;
		if (store->has_stored_state)
			return;
		(void)manager_send("FDSTOREREMOVE=1\nFDNAME=" STATE_NAME, -1);
	}
	fd = memfd_create("hakd-state", MFD_CLOEXEC);
	if (fd >= 0)
		(void)state_take(&store->state, fd);
	else
		log_say(LOG_WARNING, "Cannot make a memfd: %s. Nothing will outlive this daemon.",
			strerror(errno));
}

void store_restore(struct store *store, const struct store_parts *parts, const char *runtime_dir)
{
	store->record = (struct record){
		.table = parts->table, .take_page = take_page, .context = store};
	record_keep(&store->record, &store->state);
	keep_sections(&store->state, parts->effects, parts->advisor);
	store->gone = calloc(STORE_PAGES_MAX, sizeof *store->gone);
	/* Without room for names nothing is given to the manager. */
	store->has_manager = store->has_manager && store->gone != NULL;
	if (store->passed_count > 0)
		qsort(store->passed, store->passed_count, sizeof *store->passed, by_inode);
	if (store->has_manager)
		take_memfd(store);
	else
		take_file(store, runtime_dir);
	if (store->gone != NULL)
		sort_out(store);
	parts->table->dropping = on_dropping;
	parts->table->dropping_context = store;
	/* Right away: one that is killed before its first tick, and again, would let clients
	 * believe that there is nobody. */
	table_tick(parts->table, clock_now_ns());
	store_tick(store, clock_now_ns());
}

void store_save(struct store *store)
{
	state_save(&store->state);
}

/* False: not now. */
static bool remove_pages(struct store *store, size_t *turns)
{
	char lines[LINES_BYTES];

	for (; store->gone_count > 0 && *turns > 0; --*turns) {
		snprintf(lines, sizeof lines, "FDSTOREREMOVE=1\nFDNAME=" PAGE_PREFIX "%" PRIx64,
			 (uint64_t)store->gone[store->gone_count - 1]);
		if (manager_send(lines, -1) != 0)
			return false;
		store->gone_count--;
	}
	return true;
}

/* Not polled: a file cannot be, and the manager would look. */
static bool store_page(struct store *store, struct client *client)
{
	char lines[LINES_BYTES];

	snprintf(lines, sizeof lines, "FDSTORE=1\nFDPOLL=0\nFDNAME=" PAGE_PREFIX "%" PRIx64,
		 (uint64_t)client->inode);
	if (manager_send(lines, client->memfd) != 0)
		return false;
	client->is_stored = true;
	store->stored_count++;
	return true;
}

static bool is_worth_it(const struct client *client, uint64_t now_ns)
{
	return client->has_come_again || now_ns - client->registered_ns >= STORE_AGE_NS;
}

static void store_pages(struct store *store, size_t turns, uint64_t now_ns)
{
	struct client *client = store->record.table->by_pid;

	for (; client != NULL && turns > 0; client = client->hh.next) {
		if (client->is_stored || !is_worth_it(client, now_ns))
			continue;
		if (store->stored_count + store->gone_count == STORE_PAGES_MAX ||
		    !store_page(store, client))
			return;
		turns--;
	}
}

void store_tick(struct store *store, uint64_t now_ns)
{
	size_t turns = STORE_TURN_MAX;

	/* First: no page is there that the state does not know of. */
	store_save(store);
	if (!store->has_manager || store->state.fd < 0)
		return;
	if (!store->has_stored_state)
		store->has_stored_state = manager_send("FDSTORE=1\nFDPOLL=0\nFDNAME=" STATE_NAME,
						       store->state.fd) == 0;
	if (store->has_stored_state && remove_pages(store, &turns))
		store_pages(store, turns, now_ns);
}
