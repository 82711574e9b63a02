#include "fleet/client.h"

#include "base/guard.h"
#include "proto/page.h"
#include "proto/wire.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#define SEALS_NEEDED (F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)
#define SEALS_REFUSED (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)

#define READ_TRIES_MAX 3

/* No heap counts so far: at 2^53 doubles, and so Prometheus, stop counting by ones. */
#define COUNTER_MAX ((uint64_t)1 << 53)

const char *client_refuse_page(int memfd, uint32_t superslab_count)
{
	int seals = fcntl(memfd, F_GET_SEALS);
	struct statfs filesystem;
	struct stat status;

	if (seals < 0)
		return "the descriptor is no memfd";
	if ((seals & SEALS_NEEDED) != SEALS_NEEDED)
		return "the memfd is not sealed";
	if ((seals & SEALS_REFUSED) != 0)
		return "the memfd is sealed against writing";
	if ((fcntl(memfd, F_GETFL) & O_ACCMODE) != O_RDWR)
		return "the memfd is not open for reading and writing";
	/* A memfd of huge pages has the seals too, and its reads can fail for want of one. */
	if (fstatfs(memfd, &filesystem) != 0 || filesystem.f_type != TMPFS_MAGIC)
		return "the memfd has huge pages";
	if (fstat(memfd, &status) != 0 || !S_ISREG(status.st_mode) ||
	    (uint64_t)status.st_size != hak_page_bytes(superslab_count))
		return "the memfd has not the size that the hello gives it";
	return NULL;
}

/* The place of a word of the mailbox. */
static _Atomic uint64_t *word_at(const struct client *client, size_t offset)
{
	return (_Atomic uint64_t *)(void *)(client->page + HAK_PAGE_MAILBOX + offset);
}

static void put_word(const struct client *client, size_t offset, uint64_t value)
{
	atomic_store_explicit(word_at(client, offset), htole64(value), memory_order_relaxed);
}

/* Odd sequence, words, even sequence, in this order for whoever reads. */
static void put_mailbox(void *context)
{
	struct client *client = context;
	uint8_t bytes[HAK_MAILBOX_BYTES];

	put_word(client, HAK_MAILBOX_SEQUENCE, client->mailbox.sequence | 1);
	client->mailbox.sequence = (client->mailbox.sequence | 1) + 1;
	hak_mailbox_encode(&client->mailbox, bytes);
	/* release: no word before the sequence says that they change */
	atomic_thread_fence(memory_order_release);
	for (size_t offset = HAK_MAILBOX_SEQUENCE + 8; offset < sizeof bytes; offset += 8) {
		uint64_t word;

		memcpy(&word, bytes + offset, sizeof word);
		atomic_store_explicit(word_at(client, offset), word, memory_order_relaxed);
	}
	/* release: all of them before it says that they have */
	atomic_thread_fence(memory_order_release);
	put_word(client, HAK_MAILBOX_SEQUENCE, client->mailbox.sequence);
}

/* Those that are not under the sequence. */
static void put_time(void *context)
{
	const struct client *client = context;

	put_word(client, HAK_MAILBOX_DAEMON_SEEN, client->mailbox.daemon_seen);
	put_word(client, HAK_MAILBOX_RECLAIMED, client->mailbox.reclaimed_ns);
}

/* The client can take the page away at any moment, and the system can be out of memory for it. */
static void touch_page(struct client *client, void (*touch)(void *client))
{
	if (!client->has_lost_page && !guard_call(touch, client))
		client->has_lost_page = true;
}

/* Wakes the client's agent, where it has one. One that this does not reach looks by itself within
 * seconds. */
static void ring(const struct client *client)
{
	(void)syscall(SYS_futex, word_at(client, HAK_MAILBOX_SEQUENCE), FUTEX_WAKE, INT_MAX, NULL,
		      NULL, 0);
}

/* A change, of which an agent is to hear at once. */
static void tell(struct client *client)
{
	client->mailbox.epoch++;
	touch_page(client, put_mailbox);
	ring(client);
}

static void put_wishes(struct hak_mailbox *mailbox, const struct client_wishes *wishes)
{
	mailbox->soft_budget_bytes = wishes->budget.soft_bytes;
	mailbox->hard_budget_bytes = wishes->budget.hard_bytes;
	mailbox->purge_level = wishes->purge_level;
	mailbox->decay_ns = wishes->decay_ns;
	mailbox->magazine_bytes_max = wishes->magazine_bytes_max;
	mailbox->flags &= ~CLIENT_WISH_FLAGS;
	if (wishes->budget.fails)
		mailbox->flags |= HAK_MAILBOX_FAIL;
	if (wishes->has_agent)
		mailbox->flags |= HAK_MAILBOX_AGENT;
}

static void get_mailbox(void *context)
{
	struct client *client = context;
	uint8_t bytes[HAK_MAILBOX_BYTES];

	for (size_t offset = 0; offset < sizeof bytes; offset += 8) {
		uint64_t word = atomic_load_explicit(word_at(client, offset), memory_order_relaxed);

		memcpy(bytes + offset, &word, sizeof word);
	}
	hak_mailbox_decode(bytes, &client->mailbox);
}

/* A page that an earlier daemon has written goes on where that one ended: a number that the client
 * has seen must not come back with another meaning. Of a new page all words are 0. */
void client_open(struct client *client, const struct client_wishes *wishes)
{
	struct hak_mailbox found;

	touch_page(client, get_mailbox);
	found = client->mailbox;
	client->mailbox = (struct hak_mailbox){
		.sequence = found.sequence,
		.daemon_seen = found.daemon_seen + 1,
		.epoch = found.epoch + 1,
		.trim_request = found.trim_request,
		.trim_target_bytes = found.trim_target_bytes,
		.reclaimed_ns = found.reclaimed_ns,
	};
	put_wishes(&client->mailbox, wishes);
	touch_page(client, put_mailbox);
}

void client_resume(struct client *client)
{
	touch_page(client, get_mailbox);
	/* The last daemon was killed while it wrote this. */
	if (client->mailbox.sequence % 2 != 0)
		tell(client);
}

void client_wish(struct client *client, const struct client_wishes *wishes)
{
	struct hak_mailbox before = client->mailbox;

	put_wishes(&client->mailbox, wishes);
	if (memcmp(&before, &client->mailbox, sizeof before) != 0)
		tell(client);
}

static void unmap(struct client *client)
{
	if (client->page != MAP_FAILED)
		munmap(client->page, HAK_PAGE_TELEMETRY);
}

int client_new(const struct client_papers *papers, const struct process_identity *identity,
	       struct client **result)
{
	struct client *client = calloc(1, sizeof *client);
	struct stat status;

	if (client == NULL)
		return -ENOMEM;
	client->pid = papers->pid;
	client->uid = papers->uid;
	client->pidfd = papers->pidfd;
	client->memfd = papers->memfd;
	client->hello = papers->hello;
	client->identity = *identity;
	memcpy(client->seen_comm, identity->comm, sizeof client->seen_comm);
	client->plausible = true;
	rows_init(&client->rows, papers->memfd, papers->hello.superslab_count);
	client->registered = time(NULL);
	client->registered_ns = client->checked_ns = clock_now_ns();
	client->page = mmap(NULL, HAK_PAGE_TELEMETRY, PROT_READ | PROT_WRITE, MAP_SHARED,
			    client->memfd, HAK_PAGE_MAILBOX);
	if (client->page == MAP_FAILED || fstat(client->memfd, &status) != 0) {
		int error = -errno;

		unmap(client);
		free(client);
		return error;
	}
	client->device = status.st_dev;
	client->inode = status.st_ino;
	*result = client;
	return 0;
}

void client_free(struct client *client)
{
	if (client == NULL)
		return;
	close(client->memfd);
	close(client->pidfd);
	client_refuse(client);
}

void client_refuse(struct client *client)
{
	rows_deinit(&client->rows);
	unmap(client);
	free(client);
}

static bool read_sequence(const struct client *client, uint64_t *sequence)
{
	bool whole = pread(client->memfd, sequence, 8, HAK_PAGE_TELEMETRY) == 8;

	*sequence = le64toh(*sequence);
	return whole;
}

/* One copy that was not written meanwhile. Most clients of a fleet are idle: what has the sequence
 * of the last copy is that copy. What could not be believed is judged anew each time. */
enum copy { COPY_NEW, COPY_SAME, COPY_TORN };

static enum copy copy_telemetry(const struct client *client, uint8_t bytes[HAK_TELEMETRY_BYTES])
{
	for (int i = 0; i < READ_TRIES_MAX; i++) {
		uint64_t before = 0, after = 0;

		if (!read_sequence(client, &before) || before % 2 != 0)
			continue;
		if (before != 0 && before == client->copied_sequence && client->plausible)
			return COPY_SAME;
		if (pread(client->memfd, bytes, HAK_TELEMETRY_BYTES, HAK_PAGE_TELEMETRY) ==
			    HAK_TELEMETRY_BYTES &&
		    read_sequence(client, &after) && before == after)
			return COPY_NEW;
	}
	return COPY_TORN;
}

/* What a heap holds lies in its address space; of less than the address space nothing can be said,
 * since what a program has asked for and not touched is live too. */
static bool claim_fits(const struct hak_telemetry *claim, uint64_t virtual_bytes)
{
	uint64_t bytes = group_add(claim->live_bytes, claim->cached_bytes);

	bytes = group_add(bytes, claim->free_bytes);
	bytes = group_add(bytes, claim->lazyfree_bytes);
	bytes = group_add(bytes, claim->metadata_bytes);
	return virtual_bytes == 0 || (bytes <= virtual_bytes && claim->huge_bytes <= virtual_bytes);
}

bool client_read_memory(struct client *client, uint64_t now_ns)
{
	uint64_t known_bytes = client->memory.virtual_bytes;
	bool is_known;

	process_read_memory(client->pid, &client->memory);
	is_known = client->memory.virtual_bytes != 0;
	/* Of one whose first thread has ended the kernel tells nothing more. */
	if (!is_known)
		client->memory.virtual_bytes = known_bytes;
	client->memory_read_ns = now_ns;
	return is_known;
}

static bool claim_is_plausible(struct client *client, const struct hak_telemetry *claim,
			       uint64_t now_ns)
{
	if (claim->superslab_open_count > client->hello.superslab_count ||
	    claim->superslab_peak_count > client->hello.superslab_count)
		return false;
	for (enum hak_metric i = 0; i < HAK_METRIC_COUNT; i++)
		if (group_metric_is_counter(i) && claim->metrics[i] >= COUNTER_MAX)
			return false;
	/* /proc/PID/statm costs more than the page itself: an address space that was large enough
	 * before is not looked at again. */
	if (client->memory_read_ns == 0 || !claim_fits(claim, client->memory.virtual_bytes))
		(void)client_read_memory(client, now_ns);
	return claim_fits(claim, client->memory.virtual_bytes);
}

uint64_t client_lazyfree_bytes(const struct client *client)
{
	uint64_t claimed = client->telemetry.lazyfree_bytes, gone = client->rows.returned_bytes;

	return claimed > gone ? claimed - gone : 0;
}

void client_count(struct client *client)
{
	for (enum hak_metric i = 0; i < HAK_METRIC_COUNT; i++) {
		uint64_t claimed = client->telemetry.metrics[i];

		if (!group_metric_is_counter(i))
			client->counted[i] = client->plausible ? claimed : 0;
		else if (client->plausible && claimed > client->counted[i])
			client->counted[i] = claimed;
	}
	if (client->plausible)
		client->counted[HAK_METRIC_lazyfree_bytes] = client_lazyfree_bytes(client);
}

enum client_read client_refresh(struct client *client, uint64_t now_ns)
{
	bool was_plausible = client->plausible;
	uint8_t bytes[HAK_TELEMETRY_BYTES];
	struct hak_telemetry claim;
	bool empty = true;

	switch (copy_telemetry(client, bytes)) {
	case COPY_TORN:
		return CLIENT_READ_TORN;
	case COPY_SAME:
		return CLIENT_READ_OK;
	case COPY_NEW:
		break;
	}
	hak_wire_get_record(bytes, &client->copied_sequence, 1);
	for (size_t i = 0; i < sizeof bytes && empty; i++)
		empty = bytes[i] == 0;
	if (empty) {
		/* Registered, and nothing published yet. */
		claim_is_plausible(client, &client->telemetry, now_ns);
		return CLIENT_READ_OK;
	}
	client->plausible = hak_telemetry_decode(bytes, &claim);
	if (client->plausible) {
		client->plausible = claim_is_plausible(client, &claim, now_ns);
		client->telemetry = claim;
	}
	rows_review(&client->rows);
	client_count(client);
	return was_plausible && !client->plausible ? CLIENT_READ_IMPLAUSIBLE : CLIENT_READ_OK;
}

void client_tick(struct client *client)
{
	client->mailbox.daemon_seen++;
	touch_page(client, put_time);
}

void client_trim(struct client *client, uint64_t target_bytes)
{
	client->mailbox.trim_request++;
	client->mailbox.trim_target_bytes = target_bytes;
	tell(client);
}

void client_note_reclaim(struct client *client, uint64_t now_ns)
{
	client->mailbox.reclaimed_ns = now_ns;
	touch_page(client, put_time);
}

void client_confirm_reclaim(struct client *client)
{
	if ((client->mailbox.flags & HAK_MAILBOX_REMOTE_RECLAIM) != 0)
		return;
	client->mailbox.flags |= HAK_MAILBOX_REMOTE_RECLAIM;
	tell(client);
}

/* Reserved for as long as the process has this heap. */
static uint64_t region_bytes(const struct client *client)
{
	return client->hello.superslab_count * HAK_PAGE_SUPERSLAB_BYTES;
}

/* By what anybody may read: how much is mapped, since a heap's region alone is more than most
 * programs have, and the name, which an exec changes, and a program may. */
static bool may_be_the_same(struct client *client, uint64_t now_ns)
{
	char comm[PROCESS_COMM_BYTES];

	(void)client_read_memory(client, now_ns);
	process_read_comm(client->pid, comm);
	if (strcmp(comm, client->seen_comm) != 0) {
		memcpy(client->seen_comm, comm, sizeof comm);
		client->is_suspect = true;
	}
	return client->memory.virtual_bytes == 0 ||
	       client->memory.virtual_bytes >= region_bytes(client);
}

/* Of another user's process the kernel would not say, but would make us wait for an exec that is
 * under way, which the process can hold up for as long as it likes. */
static enum process_maps find_page(const struct client *client)
{
	if (client->uid != geteuid())
		return PROCESS_MAPS_UNKNOWN;
	return process_maps_memfd(client->pid, client->device, client->inode);
}

bool client_maps_page(struct client *client, uint64_t now_ns)
{
	enum process_maps answer = find_page(client);

	client->checked_ns = now_ns;
	if (client->has_lost_page)
		return false;
	client->is_hidden = answer == PROCESS_MAPS_UNKNOWN;
	return client->is_hidden ? may_be_the_same(client, now_ns) : answer == PROCESS_MAPS_YES;
}

double client_age_seconds(const struct client *client, uint64_t now_ns)
{
	uint64_t since_ns = client->telemetry.updated_ns;

	if (since_ns == 0)
		since_ns = client->registered_ns;
	/* A stamp from the future, or of another time namespace, is as good as now. */
	return since_ns < now_ns ? (double)((now_ns - since_ns) / 1000000) / 1000 : 0;
}

bool client_is_valid(const struct client *client)
{
	return client->pid > 0 && client->memfd >= 0 && client->pidfd >= 0 &&
	       client->group != NULL && client->account != NULL &&
	       client->mailbox.sequence % 2 == 0 &&
	       client->hello.superslab_count <= HAK_PAGE_SUPERSLABS_MAX &&
	       rows_is_valid(&client->rows);
}
