/* Goal: a daemon may write whatever it likes into a program's mailbox: the program's memory stays
 * the program's, and what its library says of itself stays well formed.
 *
 * Method: libhak registers with a daemon that is this very process, and gets the mailbox that the
 * bytes describe, word by word or in raw, while it allocates and frees. After each slow path the
 * blocks in use hold what was written to them, the heap is valid, the telemetry decodes, rows of
 * SuperSlabs name no unit twice, and a trim that was said to be done is one that was asked for.
 * Allocations fail only while there is a hard budget of the daemon's that refuses.
 */
#include "../stress/stress.h"
#include "input.h"
#include "judge.h"

#include "base/os.h"
#include "base/policy.h"
#include "govern/telemetry.h"
#include "heap/pool.h"
#include "heap/shared.h"
#include "heap/thread.h"
#include "proto/hello.h"
#include "proto/mailbox.h"
#include "proto/page.h"
#include "proto/superslab.h"
#include "proto/telemetry.h"

#include <hak/hak.h>

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SLOTS 64
#define OPERATIONS_MAX 200
#define REQUESTS_MAX (OPERATIONS_MAX + 2)
#define TRIM_STEPS_MAX 10000

static struct fuzz_input input;
static struct stress_block blocks[SLOTS];
static unsigned char *page; /* the daemon's mapping of the program's page */
static uint32_t superslab_count;
static uint64_t requests[REQUESTS_MAX]; /* trims that were ever in the mailbox */
static unsigned request_count;

/* The mailbox's words by their place. */
enum { SEQUENCE, DAEMON_SEEN, EPOCH, HARD_BUDGET = 4, TRIM_REQUEST, TRIM_TARGET, FLAGS = 10 };

static uint64_t load(unsigned index)
{
	return __atomic_load_n((uint64_t *)(void *)(page + HAK_PAGE_MAILBOX) + index,
			       __ATOMIC_ACQUIRE);
}

static void store(unsigned index, uint64_t word)
{
	__atomic_store_n((uint64_t *)(void *)(page + HAK_PAGE_MAILBOX) + index, word,
			 __ATOMIC_RELEASE);
}

/* Whatever else it writes: a daemon that stands still would be taken for dead after some
 * seconds. */
static void live_on(void)
{
	store(DAEMON_SEEN, load(DAEMON_SEEN) + 1);
}

/* ---- the daemon's side of the registration ---- */

static int listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	FUZZ_CHECK(fd >= 0);
	unlink(path);
	FUZZ_CHECK(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
	FUZZ_CHECK(listen(fd, 1) == 0);
	return fd;
}

static void receive(int listener)
{
	uint8_t bytes[HAK_HELLO_BYTES_MAX];
	char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
	struct iovec part = {.iov_base = bytes, .iov_len = sizeof bytes};
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof control,
	};
	struct hak_hello hello;
	int fd = accept(listener, NULL, NULL), memfd;
	ssize_t count = recvmsg(fd, &message, 0);

	FUZZ_CHECK(count > 0 && hak_hello_decode(bytes, (size_t)count, &hello) == HAK_HELLO_OK &&
		   CMSG_FIRSTHDR(&message) != NULL);
	memcpy(&memfd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof memfd);
	superslab_count = hello.superslab_count;
	page = mmap(NULL, hak_page_bytes(superslab_count), PROT_READ | PROT_WRITE, MAP_SHARED,
		    memfd, 0);
	FUZZ_CHECK(page != MAP_FAILED);
	close(memfd);
	close(fd);
	live_on();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct hak_thread *thread;
	int listener;

	(void)argc;
	(void)argv;
	/* Once alone: this registration is to last. */
	hak_settings.registration = HAK_REGISTRATION_ALWAYS;
	snprintf(hak_settings.socket, sizeof hak_settings.socket, "/tmp/hak-fuzz-mailbox.%d",
		 (int)getpid());
	listener = listen_at(hak_settings.socket);
	hak_free(hak_malloc(1));
	for (int i = 0; i < 2; i++) { /* the first look begins the age */
		thread = hak_thread_enter();
		hak_telemetry_if_due(hak_os_now_ns() + (uint64_t)i * 10000000000);
		hak_thread_leave(thread);
	}
	receive(listener);
	close(listener);
	unlink(hak_settings.socket);
	return 0;
}

/* ---- operations ---- */

/* What the library may hear of from here on. */
static void note_request(void)
{
	FUZZ_CHECK(request_count < REQUESTS_MAX);
	requests[request_count++] = load(TRIM_REQUEST);
}

static void write_word(void)
{
	unsigned choice = fuzz_input_take(&input, 1);
	uint64_t word = fuzz_input_take(&input, 4);

	store(choice % (HAK_MAILBOX_BYTES / 8), word << (choice & 32) | (choice & 64 ? word : 0));
}

/* As hakd does it: the sequence even, a new epoch. */
static void ask(void)
{
	store(SEQUENCE, load(SEQUENCE) & ~(uint64_t)1);
	store(TRIM_REQUEST, load(TRIM_REQUEST) + 1);
	store(TRIM_TARGET, (uint64_t)fuzz_input_take(&input, 2) << 10);
	store(EPOCH, load(EPOCH) + 1);
}

/* Refused only where the daemon says so. */
static void make(struct stress_block *block, size_t size)
{
	void *address = hak_malloc(size);

	if (address == NULL) {
		FUZZ_CHECK(hak_setting(&hak_policy.refusing_bytes) != 0);
		return;
	}
	*block = (struct stress_block){.address = address, .size = size};
	stress_fill(block);
}

static void allocate(void)
{
	struct stress_block *block = &blocks[fuzz_input_take(&input, 1) % SLOTS];
	unsigned size = fuzz_input_take(&input, 2);

	if (block->address != NULL)
		stress_release(block);
	else
		make(block, size % 4 == 0 ? (size_t)size * 32 : size / 8);
}

static void allocate_row(void)
{
	unsigned size = fuzz_input_take(&input, 2);

	for (unsigned i = 0; i < SLOTS; i++)
		if (blocks[i].address == NULL)
			make(&blocks[i], size);
}

static void free_row(void)
{
	unsigned step = 1 + fuzz_input_take(&input, 1) % 4;

	for (unsigned i = 0; i < SLOTS; i += step)
		if (blocks[i].address != NULL)
			stress_release(&blocks[i]);
}

/* ---- the judge ---- */

static uint64_t trim_ack(void)
{
	struct hak_telemetry telemetry;

	FUZZ_CHECK(hak_telemetry_decode(page + HAK_PAGE_TELEMETRY, &telemetry));
	return telemetry.trim_ack;
}

static void judge_telemetry(void)
{
	struct hak_telemetry telemetry;
	bool was_asked_for = false;

	FUZZ_CHECK(hak_telemetry_decode(page + HAK_PAGE_TELEMETRY, &telemetry));
	FUZZ_CHECK(telemetry.sequence % 2 == 0 && telemetry.pid == (uint64_t)getpid());
	FUZZ_CHECK(telemetry.metric_count == HAK_METRIC_COUNT);
	for (unsigned i = 0; i < request_count; i++)
		was_asked_for = was_asked_for || requests[i] == telemetry.trim_ack;
	FUZZ_CHECK(was_asked_for);
}

static void judge_rows(void)
{
	struct hak_superslab_row row;

	for (uint32_t i = 0; i < superslab_count; i++) {
		hak_superslab_row_decode(
			page + HAK_PAGE_SUPERSLABS + (size_t)i * HAK_PAGE_SUPERSLAB_ROW, &row);
		if (row.sequence == 0)
			return; /* and none was opened behind it */
		FUZZ_CHECK(row.sequence % 2 == 0);
		for (unsigned j = 0; j < 2; j++)
			FUZZ_CHECK((row.used[j] & row.free[j]) == 0);
	}
}

/* A look at everything, on the way of which the library looks at its mailbox. */
static void pass_slowly(void)
{
	struct hak_stats stats;

	note_request();
	live_on();
	STRESS_CHECK(hak_stats_get(&stats, sizeof stats) == 0);
	for (unsigned i = 0; i < SLOTS; i++)
		if (blocks[i].address != NULL)
			stress_verify(&blocks[i]);
	FUZZ_CHECK(hak_shared_page() != NULL);
	STRESS_CHECK(hak_pool_is_valid());
	judge_telemetry();
	judge_rows();
}

/* Whatever was asked for before: a trim that is asked for now is done some slow paths later. So
 * nothing of one input is left for the next. */
static void expect_trim(void)
{
	unsigned steps = 0;

	store(HARD_BUDGET, 0);
	store(FLAGS, 0);
	ask();
	note_request();
	while (trim_ack() != load(TRIM_REQUEST)) {
		struct hak_stats stats;

		FUZZ_CHECK(++steps < TRIM_STEPS_MAX);
		/* One that came back to an epoch that was seen before is not heard; the next is. */
		store(EPOCH, load(EPOCH) + 1);
		live_on();
		STRESS_CHECK(hak_stats_get(&stats, sizeof stats) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	static void (*const operations[])(void) = {write_word, ask,	     allocate,
						   allocate,   allocate_row, free_row};

	input = (struct fuzz_input){.at = bytes, .left = count};
	requests[0] = trim_ack(); /* of the last input */
	request_count = 1;
	for (unsigned i = 0; input.left != 0 && i < OPERATIONS_MAX; i++) {
		stress_position.operation = i;
		operations[fuzz_input_take(&input, 1) % 6]();
		pass_slowly();
	}
	for (unsigned i = 0; i < SLOTS; i++)
		if (blocks[i].address != NULL)
			stress_release(&blocks[i]);
	stress_expect_nothing_live();
	expect_trim();
	return 0;
}
