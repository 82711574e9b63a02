#include "stress.h"

#include <hak/hak.h>

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE_BYTES ((size_t)4096)
#define WHOLE_BYTES_MAX PAGE_BYTES
#define END_BYTES ((size_t)256)
#define EQUAL SIZE_MAX

__thread struct stress_position stress_position = {.name = "start"};

static uint64_t common_seed;
static __thread uint64_t random_state;

static uint64_t mix(uint64_t value)
{
	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
	value = (value ^ value >> 27) * 0x94d049bb133111ebu;
	return value ^ value >> 31;
}

void stress_set_seed(uint64_t seed)
{
	common_seed = seed;
	stress_begin_thread(0);
}

void stress_begin_thread(unsigned thread)
{
	stress_position.thread = thread;
	random_state = mix(common_seed + ((uint64_t)thread << 32));
}

uint64_t stress_random(void)
{
	random_state += 0x9e3779b97f4a7c15u;
	return mix(random_state);
}

uint64_t stress_random_below(uint64_t end)
{
	return stress_random() % end;
}

size_t stress_random_size(size_t bytes_max)
{
	unsigned bits = 64 - (unsigned)__builtin_clzl(bytes_max | 1);
	size_t size = stress_random() & (((size_t)1 << stress_random_below(bits + 1)) - 1);

	return size <= bytes_max ? size : bytes_max;
}

void stress_fail(const char *format, ...)
{
	va_list values;

	/* One line even where several threads fail at once. */
	flockfile(stderr);
	fprintf(stderr,
		"%s: seed %llu, thread %u, operation %llu (%s): ", program_invocation_short_name,
		(unsigned long long)common_seed, stress_position.thread,
		(unsigned long long)stress_position.operation, stress_position.name);
	va_start(values, format);
	vfprintf(stderr, format, values);
	va_end(values);
	fputc('\n', stderr);
	fflush(stderr);
	abort();
}

uint64_t stress_argument(int argc, char **argv, int index, uint64_t otherwise)
{
	char *end;

	if (index >= argc)
		return otherwise;
	uint64_t value = strtoull(argv[index], &end, 10);

	if (*argv[index] == '\0' || *end != '\0') {
		fprintf(stderr, "%s: '%s' is not a number\n", argv[0], argv[index]);
		exit(2);
	}
	return value;
}

/* ---- contents ---- */

struct range {
	size_t first, end;
};

/* Writes or compares the words of a range, which begins at a multiple of 8. Returns where the
 * first difference is, or EQUAL. */
static size_t walk_range(unsigned char *address, struct range range, uint64_t key, bool write)
{
	for (size_t at = range.first; at < range.end; at += sizeof(uint64_t)) {
		size_t bytes = range.end - at < sizeof(uint64_t) ? range.end - at
								 : sizeof(uint64_t);
		uint64_t word = key ^ at * 0x9e3779b97f4a7c15u;

		if (write)
			memcpy(address + at, &word, bytes);
		else if (memcmp(address + at, &word, bytes) != 0)
			return at;
	}
	return EQUAL;
}

/* Walks over what is filled of a block of `size` bytes, as far as `bytes`. */
static size_t walk(unsigned char *address, size_t size, uint64_t key, size_t bytes, bool write)
{
	size_t tail = (size - END_BYTES) & ~(sizeof(uint64_t) - 1);
	size_t found;

	if (size <= WHOLE_BYTES_MAX)
		return walk_range(address, (struct range){0, bytes}, key, write);
	found = walk_range(address, (struct range){0, bytes < END_BYTES ? bytes : END_BYTES}, key,
			   write);
	for (size_t at = PAGE_BYTES;
	     found == EQUAL && at + sizeof(uint64_t) <= tail && at + sizeof(uint64_t) <= bytes;
	     at += PAGE_BYTES)
		found = walk_range(address, (struct range){at, at + sizeof(uint64_t)}, key, write);
	if (found == EQUAL)
		found = walk_range(address, (struct range){tail, bytes}, key, write);
	return found;
}

void stress_fill(struct stress_block *block)
{
	static __thread uint64_t sequence;

	sequence++;
	block->key = mix((uint64_t)(uintptr_t)block->address + mix(block->size + mix(sequence)));
	walk(block->address, block->size, block->key, block->size, true);
}

static void compare(const struct stress_block *layout, unsigned char *address, size_t bytes)
{
	size_t found = walk(address, layout->size, layout->key, bytes, false);

	if (found != EQUAL)
		stress_fail("content of %p (%zu bytes) has changed at byte %zu", (void *)address,
			    layout->size, found);
}

void stress_verify(const struct stress_block *block)
{
	compare(block, block->address, block->size);
}

void stress_verify_moved(const struct stress_block *old, unsigned char *address, size_t bytes)
{
	compare(old, address, bytes < old->size ? bytes : old->size);
}

void stress_make(struct stress_block *block, size_t size)
{
	block->address = hak_malloc(size);
	block->size = size;
	if (block->address == NULL)
		stress_fail("hak_malloc(%zu) gave NULL", size);
	stress_fill(block);
}

void stress_release(struct stress_block *block)
{
	stress_verify(block);
	hak_free(block->address);
	block->address = NULL;
}

void stress_expect_nothing_live(void)
{
	struct hak_stats stats;

	STRESS_CHECK(hak_stats_get(&stats, sizeof stats) == 0);
	if (stats.live_bytes != 0)
		stress_fail("%llu bytes are live after all was freed",
			    (unsigned long long)stats.live_bytes);
}

/* ---- the proof ---- */

static _Noreturn void run_to_abort(void (*function)(void), int said_fd)
{
	struct rlimit core = {.rlim_cur = 0, .rlim_max = 0};

	setrlimit(RLIMIT_CORE, &core);
	dup2(said_fd, STDERR_FILENO);
	function();
	exit(0);
}

void stress_expect_abort(void (*function)(void), const char *words)
{
	char said[16384];
	size_t used = 0;
	int ends[2], status;
	ssize_t got;

	STRESS_CHECK(pipe(ends) == 0);
	pid_t pid = fork();

	STRESS_CHECK(pid >= 0);
	if (pid == 0)
		run_to_abort(function, ends[1]);
	close(ends[1]);
	while (used < sizeof said - 1 &&
	       (got = read(ends[0], said + used, sizeof said - 1 - used)) > 0)
		used += (size_t)got;
	said[used] = '\0';
	close(ends[0]);
	STRESS_CHECK(waitpid(pid, &status, 0) == pid);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(said, words) != NULL)
		exit(0);
	fprintf(stderr, "the planted fault was not found: wait status %#x, words: \"%s\"\n",
		(unsigned)status, said);
	exit(1);
}
