/* Goal: whichever call to the kernel fails for want of memory, the program gets NULL with ENOMEM or
 * does not notice, no block changes, the heap stays whole, and all works again once there is
 * memory.
 *
 * Method: mmap, munmap, mprotect, madvise and mremap are this program's own, which go on to the
 * kernel but for one call, or all calls from one on, that fail: with ENOMEM, madvise with EAGAIN in
 * every second run. One story that goes through births of heap and threads, slabs, runs, huge
 * blocks, resizing, trims, forks and the registration with a daemon (a socket that this test
 * listens at) is run in a child for each call in turn, until a run makes fewer calls than that.
 *
 *	limits_out_of_memory once|from_then_on
 */
#include "base/size_class.h"
#include "heap/census.h"
#include "heap/depot.h"
#include "heap/huge.h"
#include "heap/pool.h"
#include "heap/region.h"
#include "heap/slab.h"

#include <errno.h>
#include <hak/hak.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define FD_OF_DAEMON 100

static _Atomic long call_count; /* since it was armed */
static long failing_call;	/* -1: none */
static bool fails_for_good;
static _Atomic bool is_armed;
static _Atomic bool has_failed;
static const char *_Atomic failed_name = "none";

static bool fails(const char *name)
{
	if (!atomic_load(&is_armed) || failing_call < 0)
		return false;
	long call = atomic_fetch_add(&call_count, 1);

	if (call != failing_call && !(fails_for_good && call > failing_call))
		return false;
	atomic_store(&has_failed, true);
	if (call == failing_call)
		atomic_store(&failed_name, name);
	errno = call % 2 != 0 && strcmp(name, "madvise") == 0 ? EAGAIN : ENOMEM;
	return true;
}

void *mmap(void *start, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	if (fails("mmap"))
		return MAP_FAILED;
	return (void *)syscall(SYS_mmap, start, bytes, protection, flags, fd, offset);
}

int munmap(void *start, size_t bytes)
{
	return fails("munmap") ? -1 : (int)syscall(SYS_munmap, start, bytes);
}

int mprotect(void *start, size_t bytes, int protection)
{
	return fails("mprotect") ? -1 : (int)syscall(SYS_mprotect, start, bytes, protection);
}

int madvise(void *start, size_t bytes, int advice)
{
	return fails("madvise") ? -1 : (int)syscall(SYS_madvise, start, bytes, advice);
}

void *mremap(void *start, size_t old_bytes, size_t new_bytes, int flags, ...)
{
	va_list rest;
	void *place = NULL;

	if ((flags & MREMAP_FIXED) != 0) {
		va_start(rest, flags);
		place = va_arg(rest, void *);
		va_end(rest);
	}
	if (fails("mremap"))
		return MAP_FAILED;
	return (void *)syscall(SYS_mremap, start, old_bytes, new_bytes, flags, place);
}

static void expect(bool condition, int line, const char *words)
{
	if (condition)
		return;
	fprintf(stderr, "call %ld (%s) failed %s: line %d: not so: %s\n", failing_call,
		atomic_load(&failed_name), fails_for_good ? "and all after it" : "alone", line,
		words);
	_exit(1);
}

#define EXPECT(condition) expect(condition, __LINE__, #condition)

#define HELD_MAX 250

struct held {
	unsigned char *start;
	size_t size;
};

static void check(const struct held *held, unsigned char mark)
{
	for (size_t i = 0; i < held->size; i += held->size < 100 ? 1 : 61)
		EXPECT(held->start[i] == mark);
	EXPECT(held->size == 0 || held->start[held->size - 1] == mark);
}

/* What every call that may fail has to keep to. */
static bool taken(struct held *held, void *block, size_t size, unsigned char mark)
{
	if (block == NULL) {
		EXPECT(errno == ENOMEM);
		EXPECT(atomic_load(&has_failed));
		errno = 0;
		return false;
	}
	EXPECT(errno == 0);
	EXPECT(hak_malloc_usable_size(block) >= size);
	held->start = block;
	held->size = size;
	memset(block, mark, size);
	return true;
}

static size_t take_all_kinds(struct held *held, size_t count)
{
	static const size_t sizes[] = {20,    100,   700,    3000,    9000,   30000,
				       40000, 90000, 500000, MIB + 1, 3 * MIB};
	size_t used = 0;

	for (size_t i = 0; i < count; i++) {
		size_t size = i % 97 < 11 ? sizes[i % 97] : sizes[i % 5];
		unsigned char mark = (unsigned char)used;
		void *block = NULL;

		switch (i % 7) {
		case 0:
			block = hak_calloc(1, size);
			for (size_t j = 0; block != NULL && j < size; j += 499)
				EXPECT(((char *)block)[j] == 0);
			break;
		case 1:
			if (hak_posix_memalign(&block, 4096, size) == ENOMEM) {
				EXPECT(block == NULL && errno == 0);
				errno = ENOMEM;
			}
			break;
		case 2:
			block = hak_memalign(i % 700 == 2 ? 4 * MIB : 256, size);
			break;
		default:
			block = hak_malloc(size);
		}
		if (taken(&held[used], block, size, mark))
			used++;
	}
	return used;
}

static void resize_some(struct held *held, size_t count)
{
	for (size_t i = 0; i < count; i += 3) {
		unsigned char mark = (unsigned char)i;
		size_t size = i % 2 == 0 ? held[i].size * 3 : held[i].size / 3 + 1;
		unsigned char *moved = hak_realloc(held[i].start, size);

		if (moved == NULL) {
			EXPECT(errno == ENOMEM && atomic_load(&has_failed));
			errno = 0;
			check(&held[i], mark); /* the old one is as it was */
			continue;
		}
		held[i].start = moved;
		held[i].size = size < held[i].size ? size : held[i].size;
		check(&held[i], mark);
		held[i].size = size;
		memset(moved, mark, size);
	}
}

static void free_all(struct held *held, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		check(&held[i], (unsigned char)i);
		errno = 77;
		hak_free(held[i].start);
		EXPECT(errno == 77);
		errno = 0;
	}
}

static void *live(void *arg)
{
	struct held *held = arg;
	size_t count;

	errno = 0;
	count = take_all_kinds(held, 200);
	free_all(held, count);
	return NULL;
}

static void look_at_heap(void)
{
	uint32_t end = (uint32_t)(hak_region_open_bytes() >> HAK_UNIT_SHIFT);

	if (!hak_region_is_born())
		return;
	EXPECT(hak_pool_is_valid());
	EXPECT(hak_huge_is_valid());
	for (unsigned i = 1; i <= HAK_CLASS_COUNT; i++)
		EXPECT(hak_depot_is_valid(i));
	for (uint32_t unit = 0; unit < end;) {
		unsigned class_idx = hak_region_class(unit);

		/* A run's tails are looked at with its head. */
		EXPECT(class_idx == HAK_CLASS_RUN_TAIL || hak_census_is_valid(unit));
		unit += class_idx >= 1 && class_idx <= HAK_CLASS_COUNT
				? hak_size_classes[class_idx].unit_count
				: 1;
	}
}

static int count_block(const struct hak_heap_block *block, void *context)
{
	EXPECT(block->bytes != 0);
	++*(size_t *)context;
	return 0;
}

/* A thread may not be made where there is no memory for its stack: that is no matter of ours. */
static void live_in_thread(struct held *held)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, live, held) == 0)
		pthread_join(thread, NULL);
}

static void fork_and_live(struct held *held)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return;
	if (pid == 0) {
		live(held);
		look_at_heap();
		_exit(0);
	}
	EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
}

static void story(void)
{
	static struct held held[HELD_MAX], others[HELD_MAX];
	size_t count, walked = 0;

	errno = 0;
	count = take_all_kinds(held, HELD_MAX);
	live_in_thread(others);
	resize_some(held, count);
	fork_and_live(others);
	if (hak_heap_walk(count_block, &walked) == 0)
		EXPECT(walked == count);
	else
		EXPECT(errno == ENOMEM && atomic_load(&has_failed));
	errno = 0;
	for (size_t i = 0; i < count; i += 2) {
		check(&held[i], (unsigned char)i);
		hak_free(held[i].start);
		held[i].start = NULL;
	}
	hak_trim(SIZE_MAX);
	for (size_t i = 0; i < count; i += 2) {
		size_t size = held[i].size;

		if (!taken(&held[i], hak_malloc(size), size, (unsigned char)i))
			held[i].size = 0;
	}
	live_in_thread(others);
	free_all(held, count);
	hak_trim(SIZE_MAX);
}

/* One child's life. Its status: 0 the call was never made; 2 it failed, and all was well. */
static int run(long call)
{
	static struct held again[HELD_MAX];
	struct hak_stats stats;
	size_t count;

	failing_call = call;
	atomic_store(&is_armed, true);
	story();
	atomic_store(&is_armed, false);
	look_at_heap();
	/* Nobody has lost a block, and there is memory again. */
	hak_set_setting("HAK_DECAY", "0");
	EXPECT(hak_stats_get(&stats, sizeof stats) == 0);
	EXPECT(stats.live_bytes == 0);
	errno = 0;
	count = take_all_kinds(again, HELD_MAX);
	EXPECT(count == HELD_MAX);
	free_all(again, count);
	look_at_heap();
	return atomic_load(&has_failed) ? 2 : 0;
}

/* Where the children register, who find it in their environment: libhak has read that when main
 * begins, so the program is run anew with it. Returns the listening socket. */
static int listen_as_daemon(char **arguments)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t bytes = sizeof address;
	int fd = FD_OF_DAEMON;

	if (getenv("HAK_SOCKET") == NULL) {
		char folder[] = "/tmp/hak-limits-XXXXXX";

		if (mkdtemp(folder) == NULL)
			return -1;
		snprintf(address.sun_path, sizeof address.sun_path, "%s/client", folder);
		fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);
		if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
		    listen(fd, 100) != 0 || dup2(fd, FD_OF_DAEMON) < 0 ||
		    setenv("HAK_SOCKET", address.sun_path, 1) != 0 ||
		    setenv("HAK_REGISTER", "yes", 1) != 0)
			return -1;
		execv("/proc/self/exe", arguments);
		return -1;
	}
	return getsockname(fd, (struct sockaddr *)&address, &bytes) == 0 ? fd : -1;
}

/* Returns how many have registered since it was last asked. */
static unsigned hear_all(int fd)
{
	unsigned count = 0;

	for (int client; (client = accept(fd, NULL, NULL)) >= 0; count++)
		close(client);
	return count;
}

static void remove_socket(void)
{
	char *path = getenv("HAK_SOCKET");

	unlink(path);
	*strrchr(path, '/') = '\0';
	rmdir(path);
}

int main(int argument_count, char **arguments)
{
	int status = 2 << 8;
	unsigned registration_count = 0;

	if (argument_count != 2)
		return 3;
	fails_for_good = strcmp(arguments[1], "from_then_on") == 0;
	int fd = listen_as_daemon(arguments);

	if (fd < 0)
		return 3;
	for (long call = 0; status == 2 << 8; call++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(run(call));
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			return 3;
		registration_count = hear_all(fd);
		if (status == 0)
			printf("%ld calls\n", call);
	}
	remove_socket();
	/* The last run's, in which nothing failed: the program itself, and its child. */
	if (status == 0 && registration_count != 2) {
		fprintf(stderr, "%u have registered\n", registration_count);
		return 1;
	}
	if (status != 0)
		fprintf(stderr, "status %#x\n", (unsigned)status);
	return status == 0 ? 0 : 1;
}
