#include "fleet/client.h"

#include "proto/page.h"
#include "proto/wire.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <poll.h>
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

/* The mailbox, on any size of pages: the kernel rounds up. */
#define DOORBELL_BYTES HAK_MAILBOX_BYTES

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

static int write_words(const struct client *client, const void *bytes, size_t count, off_t offset)
{
	ssize_t written = pwrite(client->memfd, bytes, count, HAK_PAGE_MAILBOX + offset);

	if (written < 0)
		return -errno;
	return (size_t)written == count ? 0 : -EIO;
}

/* One that is not under the sequence. */
static int write_word(const struct client *client, off_t offset)
{
	uint8_t bytes[HAK_MAILBOX_BYTES];

	hak_mailbox_encode(&client->mailbox, bytes);
	return write_words(client, bytes + offset, 8, offset);
}

/* Odd sequence, words, even sequence: three calls, so that no reader sees them in another order. */
static int write_mailbox(struct client *client)
{
	uint8_t bytes[HAK_MAILBOX_BYTES];
	int error;

	client->mailbox.sequence |= 1;
	hak_mailbox_encode(&client->mailbox, bytes);
	error = write_words(client, bytes, 8, HAK_MAILBOX_SEQUENCE);
	if (error == 0)
		error = write_words(client, bytes + 8, sizeof bytes - 8, 8);
	client->mailbox.sequence++;
	hak_mailbox_encode(&client->mailbox, bytes);
	if (error == 0)
		error = write_words(client, bytes, 8, HAK_MAILBOX_SEQUENCE);
	return error;
}

/* Wakes the client's agent, where it has one. The kernel knows a word by its file and place there:
 * the page is mapped for the call, and never looked at. An agent that this does not reach looks by
 * itself within seconds. */
static void ring(const struct client *client)
{
	void *page = mmap(NULL, DOORBELL_BYTES, PROT_READ, MAP_SHARED, client->memfd,
			  HAK_PAGE_MAILBOX);

	if (page == MAP_FAILED)
		return;
	(void)syscall(SYS_futex, (char *)page + HAK_MAILBOX_SEQUENCE, FUTEX_WAKE, INT_MAX, NULL,
		      NULL, 0);
	munmap(page, DOORBELL_BYTES);
}

/* A change, of which an agent is to hear at once. */
static int tell(struct client *client)
{
	int error;

	client->mailbox.epoch++;
	error = write_mailbox(client);
	if (error == 0)
		ring(client);
	return error;
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

static int read_mailbox(const struct client *client, struct hak_mailbox *mailbox)
{
	uint8_t bytes[HAK_MAILBOX_BYTES];
	ssize_t count = pread(client->memfd, bytes, sizeof bytes, HAK_PAGE_MAILBOX);

	if (count != (ssize_t)sizeof bytes)
		return count < 0 ? -errno : -EIO;
	hak_mailbox_decode(bytes, mailbox);
	return 0;
}

/* A page that an earlier daemon has written goes on where that one ended: a number that the client
 * has seen must not come back with another meaning. Of a new page all words are 0. */
int client_open(struct client *client, const struct client_wishes *wishes)
{
	struct hak_mailbox found;
	int error = read_mailbox(client, &found);

	if (error != 0)
		return error;
	client->mailbox = (struct hak_mailbox){
		.sequence = found.sequence,
		.daemon_seen = found.daemon_seen + 1,
		.epoch = found.epoch + 1,
		.trim_request = found.trim_request,
		.trim_target_bytes = found.trim_target_bytes,
		.reclaimed_ns = found.reclaimed_ns,
	};
	put_wishes(&client->mailbox, wishes);
	return write_mailbox(client);
}

int client_resume(struct client *client)
{
	int error = read_mailbox(client, &client->mailbox);

	if (error != 0 || client->mailbox.sequence % 2 == 0)
		return error;
	/* The last daemon was killed while it wrote this. */
	return tell(client);
}

int client_wish(struct client *client, const struct client_wishes *wishes)
{
	struct hak_mailbox before = client->mailbox;

	put_wishes(&client->mailbox, wishes);
	if (memcmp(&before, &client->mailbox, sizeof before) == 0)
		return 0;
	return tell(client);
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
	if (fstat(client->memfd, &status) != 0) {
		int error = -errno;

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
	rows_deinit(&client->rows);
	close(client->memfd);
	close(client->pidfd);
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

void client_read_memory(struct client *client, uint64_t now_ns)
{
	process_read_memory(client->pid, &client->memory);
	client->memory_read_ns = now_ns;
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
		client_read_memory(client, now_ns);
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

int client_tick(struct client *client)
{
	client->mailbox.daemon_seen++;
	return write_word(client, HAK_MAILBOX_DAEMON_SEEN);
}

int client_trim(struct client *client, uint64_t target_bytes)
{
	client->mailbox.trim_request++;
	client->mailbox.trim_target_bytes = target_bytes;
	return tell(client);
}

int client_note_reclaim(struct client *client, uint64_t now_ns)
{
	client->mailbox.reclaimed_ns = now_ns;
	return write_word(client, HAK_MAILBOX_RECLAIMED);
}

int client_confirm_reclaim(struct client *client)
{
	if ((client->mailbox.flags & HAK_MAILBOX_REMOTE_RECLAIM) != 0)
		return 0;
	client->mailbox.flags |= HAK_MAILBOX_REMOTE_RECLAIM;
	return tell(client);
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

	client_read_memory(client, now_ns);
	process_read_comm(client->pid, comm);
	if (strcmp(comm, client->seen_comm) != 0) {
		memcpy(client->seen_comm, comm, sizeof comm);
		client->is_suspect = true;
	}
	return client->memory.virtual_bytes == 0 ||
	       client->memory.virtual_bytes >= region_bytes(client);
}

bool client_maps_page(struct client *client, uint64_t now_ns)
{
	enum process_maps answer = process_maps_memfd(client->pid, client->device, client->inode);

	client->checked_ns = now_ns;
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
