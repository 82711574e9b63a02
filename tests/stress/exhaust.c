/* Goal: the end of memory is NULL with ENOMEM, and nothing worse: what was allocated stays, and
 * once it is freed as much can be had again.
 *
 * Method: under RLIMIT_AS, blocks of one size until NULL comes, linked through their own first
 * words, each holding its number; all are checked and freed, and all of it is done again. The limit
 * is set by a parent, which then runs this program anew, so that it holds before libhak starts. The
 * other cases are requests that can never be met, and what becomes of errno.
 *
 *	stress_exhaust [LIMIT_MIB]
 *
 * Not for AddressSanitizer or ThreadSanitizer: their shadow memory alone needs terabytes of address
 * space, which is what the limit forbids.
 */
#include "stress.h"

#include <hak/hak.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 3
/* What must be had of the limit, in parts of it. The region is halved until it fits into half of
 * what the limit leaves, so it is a quarter at least; blocks are rounded up to units and
 * classes. */
#define SHARE_MIN 8

struct link {
	struct link *next;
	size_t number;
};

/* Allocates until NULL. Returns the blocks, the last one first. */
static struct link *take_all(size_t size, size_t count_max, size_t *count)
{
	struct link *list = NULL;

	stress_position.name = "take all";
	for (*count = 0;; ++*count) {
		errno = 0;
		struct link *link = hak_malloc(size);

		if (link == NULL)
			break;
		STRESS_CHECK(errno == 0);
		if (*count == count_max)
			stress_fail("%zu blocks of %zu bytes are more than the limit allows",
				    *count, size);
		link->next = list;
		link->number = *count;
		list = link;
	}
	if (errno != ENOMEM)
		stress_fail("errno is %d after NULL for %zu bytes", errno, size);
	/* And so it stays, for this size and for larger ones, in every call. */
	errno = 0;
	STRESS_CHECK(hak_calloc(1, size) == NULL && errno == ENOMEM);
	errno = 0;
	STRESS_CHECK(hak_realloc(NULL, size + size / 2) == NULL && errno == ENOMEM);
	return list;
}

static void free_all(struct link *list, size_t count)
{
	stress_position.name = "free all";
	while (list != NULL) {
		struct link *next = list->next;

		STRESS_CHECK(list->number == --count);
		errno = EDOM;
		hak_free(list);
		STRESS_CHECK(errno == EDOM);
		list = next;
	}
	STRESS_CHECK(count == 0);
}

/* A realloc that fails leaves the block as it was. */
static void grow_in_vain(struct link *last, size_t size)
{
	struct link before = *last;
	void *grown;

	stress_position.name = "grow in vain";
	errno = 0;
	grown = hak_realloc(last, size);
	STRESS_CHECK(grown == NULL && errno == ENOMEM);
	STRESS_CHECK(memcmp(last, &before, sizeof before) == 0);
}

static void exhaust(size_t size, size_t limit_bytes)
{
	size_t first_count = 0, count;

	for (unsigned round = 0; round < ROUNDS; round++) {
		stress_position.operation = round;
		struct link *list = take_all(size, limit_bytes / size, &count);

		if (round == 0)
			first_count = count;
		if (count * size < limit_bytes / SHARE_MIN)
			stress_fail("only %zu blocks of %zu bytes before the end", count, size);
		/* As much again, but for what lies in slabs that are cut for other sizes. */
		if (count < first_count - first_count / 32)
			stress_fail("%zu blocks of %zu bytes, the first time %zu", count, size,
				    first_count);
		grow_in_vain(list, limit_bytes);
		free_all(list, count);
	}
	stress_expect_nothing_live();
}

/* ---- requests that can never be met, and errno ---- */

static void expect_enomem(void *block)
{
	STRESS_CHECK(block == NULL);
	STRESS_CHECK(errno == ENOMEM);
	errno = 0;
}

static void refuse(void)
{
	static const size_t sizes[] = {(size_t)PTRDIFF_MAX + 1, SIZE_MAX, SIZE_MAX - 4095,
				       SIZE_MAX - ((size_t)2 << 20), PTRDIFF_MAX};
	struct stress_block kept;
	void *untouched = &kept;

	stress_position.name = "refuse";
	stress_make(&kept, 100);
	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		stress_position.operation = i;
		errno = 0;
		expect_enomem(hak_malloc(sizes[i]));
		expect_enomem(hak_calloc(1, sizes[i]));
		expect_enomem(hak_realloc(NULL, sizes[i]));
		expect_enomem(hak_realloc(kept.address, sizes[i]));
		expect_enomem(hak_aligned_alloc(64, sizes[i]));
		expect_enomem(hak_memalign(4096, sizes[i]));
		expect_enomem(hak_valloc(sizes[i]));
		expect_enomem(hak_pvalloc(sizes[i]));
		STRESS_CHECK(hak_posix_memalign(&untouched, 64, sizes[i]) == ENOMEM);
		STRESS_CHECK(errno == 0 && untouched == &kept);
	}
	expect_enomem(hak_calloc(SIZE_MAX / 8 + 2, 8)); /* 8, if nobody looked at the carry */
	expect_enomem(hak_calloc((size_t)1 << 32, (size_t)1 << 32));
	expect_enomem(hak_reallocarray(kept.address, SIZE_MAX / 8 + 2, 8));
	STRESS_CHECK(hak_posix_memalign(&untouched, 3, 8) == EINVAL);
	STRESS_CHECK(hak_posix_memalign(&untouched, 4, 8) == EINVAL);
	STRESS_CHECK(errno == 0 && untouched == &kept);
	STRESS_CHECK(hak_aligned_alloc(3, 8) == NULL && errno == EINVAL);
	stress_release(&kept);
}

/* Each way to success, over sizes from every road. */
static void keep_errno(void)
{
	static const size_t sizes[] = {0, 1, 1000, 30000, 100000, (size_t)3 << 20};
	void *block;

	stress_position.name = "keep errno";
	errno = EDOM;
	hak_free(NULL);
	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		stress_position.operation = i;
		block = hak_malloc(sizes[i]);
		STRESS_CHECK(block != NULL);
		block = hak_realloc(block, 2 * sizes[i] + 1);
		STRESS_CHECK(block != NULL);
		block = hak_reallocarray(block, sizes[i] + 1, 1);
		STRESS_CHECK(block != NULL);
		hak_free(block);
		block = hak_calloc(2, sizes[i]);
		STRESS_CHECK(block != NULL);
		hak_free(block);
		STRESS_CHECK(hak_posix_memalign(&block, 256, sizes[i]) == 0);
		hak_free(block);
		block = hak_aligned_alloc(4096, sizes[i]);
		STRESS_CHECK(block != NULL && hak_malloc_usable_size(block) >= sizes[i]);
		hak_free(block);
	}
	STRESS_CHECK(errno == EDOM);
	STRESS_CHECK(hak_malloc_usable_size(NULL) == 0);
}

/* ---- a process for each case ---- */

static void run_case(size_t limit_bytes, size_t size)
{
	if (size != 0) {
		exhaust(size, limit_bytes);
		return;
	}
	refuse();
	keep_errno();
	stress_expect_nothing_live();
}

/* Runs this program anew with the limit in place. */
static void run_limited(size_t limit_bytes, size_t size)
{
	struct rlimit limit = {.rlim_cur = limit_bytes, .rlim_max = limit_bytes};
	char limit_text[24], size_text[24];
	int status;
	pid_t pid = fork();

	STRESS_CHECK(pid >= 0);
	if (pid == 0) {
		snprintf(limit_text, sizeof limit_text, "%zu", limit_bytes);
		snprintf(size_text, sizeof size_text, "%zu", size);
		if (setrlimit(RLIMIT_AS, &limit) == 0)
			execl("/proc/self/exe", "stress_exhaust", "--case", limit_text, size_text,
			      (char *)NULL);
		_exit(127);
	}
	STRESS_CHECK(waitpid(pid, &status, 0) == pid);
	if (status != 0)
		stress_fail("blocks of %zu bytes: wait status %#x", size, (unsigned)status);
}

int main(int argc, char **argv)
{
	static const size_t sizes[] = {0, 64, 4096, 40000, 500000, (size_t)4 << 20};
	struct rlimit core = {0, 0};

	if (argc == 4 && strcmp(argv[1], "--case") == 0) {
		run_case(stress_argument(argc, argv, 2, 0), stress_argument(argc, argv, 3, 0));
		return 0;
	}
	setrlimit(RLIMIT_CORE, &core);
	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++)
		run_limited(stress_argument(argc, argv, 1, 256) << 20, sizes[i]);
	return 0;
}
