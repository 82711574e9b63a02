/* What malloc's whole surface promises, in a program that knows nothing of libhak; surface.py runs
 * it preloaded and under the C library's malloc alone. `surface errors` checks errno and refusals,
 * and so on; `info` and `stats` print what the calls of that name do. */
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static void expect(int condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "not so: %s\n", what);
	exit(1);
}

#define EXPECT(condition) expect(condition, #condition)

/* Not known to the compiler, which would warn of what is wanted here. */
static volatile size_t too_large = SIZE_MAX, just_too_large = (size_t)PTRDIFF_MAX + 1, zero;

static void refuses(void *block)
{
	EXPECT(block == NULL);
	EXPECT(errno == ENOMEM);
	errno = 0;
}

static void errors(void)
{
	void *block = malloc(100), *taken = NULL;

	memset(block, 5, 100);
	errno = 0;
	refuses(malloc(too_large));
	refuses(malloc(just_too_large));
	refuses(calloc(too_large, 2));
	refuses(calloc(too_large / 2, 3));
	refuses(realloc(block, too_large));
	refuses(reallocarray(block, too_large, 2));
	refuses(memalign(64, too_large));
	refuses(memalign(4 * MIB, just_too_large - 4096));
	refuses(aligned_alloc(64, too_large));
	refuses(valloc(too_large));
	refuses(pvalloc(too_large));
	refuses(pvalloc(just_too_large - 10));
	EXPECT(posix_memalign(&taken, 64, too_large) == ENOMEM && taken == NULL);
	EXPECT(posix_memalign(&taken, 24, 1) == EINVAL && taken == NULL);
	EXPECT(posix_memalign(&taken, zero, 1) == EINVAL && taken == NULL);
	EXPECT(memalign(just_too_large * 2 - 1, 1) == NULL && errno == EINVAL);
	for (size_t i = 0; i < 100; i++)
		EXPECT(((char *)block)[i] == 5);
	errno = 77;
	free(block);
	free(NULL);
	block = malloc(zero);
	EXPECT(errno == 77 && block != NULL);
	free(block);
	block = calloc(zero, 10);
	EXPECT(errno == 77 && block != NULL);
	free(block);
	EXPECT(malloc_usable_size(NULL) == 0);
}

static void resizing(void)
{
	void *taken = NULL;

	errno = 0; /* POSIX has it returned; glibc writes it as well */
	EXPECT(posix_memalign(&taken, 64, too_large) == ENOMEM && errno == 0);
	/* There is no smaller block to move to. */
	taken = malloc(16);
	EXPECT(realloc(taken, 3) == taken && realloc(taken, zero) == taken);
	free(taken);
	size_t sizes[] = {1, 100, 1000, 5000, 40000, 300000, 3000000};

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		char *block = malloc(sizes[i]), *same;
		size_t usable = malloc_usable_size(block);

		EXPECT(usable >= sizes[i]);
		memset(block, 3, usable);
		EXPECT(malloc_usable_size(block) == usable);
		same = realloc(block, usable);
		EXPECT(same == block);
		EXPECT(malloc_usable_size(same) == usable);
		same = realloc(same, sizes[i] * 3);
		for (size_t j = 0; j < usable && j < sizes[i] * 3; j++)
			EXPECT(same[j] == 3);
		free(same);
	}
}

/* Usable, aligned, not overlapping, and no more than the waste that is allowed. */
static void check_waste(size_t size, size_t alignment, size_t usable)
{
	size_t unit = 16384, page = (size_t)sysconf(_SC_PAGESIZE);
	size_t step = alignment < 16 ? 16 : alignment;
	size_t rounded = size == 0 ? step : (size + step - 1) / step * step;

	if (rounded <= 32768)
		EXPECT(usable * 4 <= rounded * 5);
	else if (rounded <= MIB)
		EXPECT(usable <= (rounded + unit - 1) / unit * unit + unit);
	else
		EXPECT(usable <= (rounded + page - 1) / page * page + page);
}

static void alignments(int check)
{
	static struct {
		char *start;
		size_t bytes;
	} held[64];
	uint64_t random = 88172645463325252ull;
	size_t next = 0;

	for (int i = 0; i < 40000; i++) {
		random ^= random << 13, random ^= random >> 7, random ^= random << 17;
		size_t alignment = (size_t)8 << random % 18; /* to 1 MiB */
		size_t size = (size_t)(random >> 20) % ((size_t)1 << (random >> 50) % 21);
		void *block;

		if (i % 4000 == 0)
			alignment = (size_t)1 << (21 + i / 4000); /* to 1 GiB */
		EXPECT(posix_memalign(&block, alignment, size) == 0);
		EXPECT((uintptr_t)block % alignment == 0 && (uintptr_t)block % 16 == 0);
		size_t usable = malloc_usable_size(block);

		EXPECT(usable >= size);
		if (check)
			check_waste(size, alignment, usable);
		memset(block, (int)next + 1, usable);
		free(held[next].start);
		held[next].start = block;
		held[next].bytes = usable;
		next = (next + 1) % 64;
		if (held[next].start != NULL)
			for (size_t j = 0; j < held[next].bytes; j += 97)
				EXPECT(held[next].start[j] == (char)(next + 1));
	}
	/* Whatever memalign takes that posix_memalign does not is rounded up. */
	EXPECT((uintptr_t)memalign(48, 100) % 64 == 0);
	EXPECT((uintptr_t)memalign(zero, 100) % 16 == 0);
	EXPECT((uintptr_t)valloc(1) % 4096 == 0);
	EXPECT(malloc_usable_size(pvalloc(1)) >= 4096);
}

static size_t resident(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	size_t pages, all;

	EXPECT(file != NULL && fscanf(file, "%zu %zu", &all, &pages) == 2);
	fclose(file);
	return pages * 4096;
}

static void trims(void)
{
	static char *blocks[100000];
	size_t full;

	for (size_t i = 0; i < 100000; i++)
		memset(blocks[i] = malloc(1000), 1, 1000);
	for (size_t i = 0; i < 100000; i++)
		if (i % 100 != 0)
			free(blocks[i]);
	full = resident();
	EXPECT(malloc_trim(0) == 1);
	/* Nothing is left, and the answer says so. */
	EXPECT(malloc_trim(0) == 0);
	EXPECT(malloc_trim(1 << 20) == 0);
	EXPECT(resident() < full - 60 * MIB);
	for (size_t i = 0; i < 100000; i += 100)
		EXPECT(blocks[i][999] == 1);
}

/* Blocks of two sizes, all free but some: rows of sizes for malloc_info(). */
static void info(void)
{
	static char *blocks[2000];

	for (size_t i = 0; i < 2000; i++)
		memset(blocks[i] = malloc(i % 2 == 0 ? 100 : 1000), 1, 100);
	for (size_t i = 0; i < 2000; i++)
		if (i % 400 > 1)
			free(blocks[i]);
	EXPECT(malloc_info(0, stdout) == 0 && malloc_info(1, stdout) == EINVAL);
}

/* What any malloc says of itself, whoever it is. */
static void any(void)
{
	int trimmed = malloc_trim(0);

	EXPECT(mallinfo2().uordblks >= 12345 && mallinfo().uordblks >= 12345);
	EXPECT(trimmed == 0 || trimmed == 1);
}

static void counts(void)
{
	struct mallinfo2 before = mallinfo2(), after, freed;
	struct mallinfo clipped;
	void *small = malloc(30000), *huge = malloc(5 * MIB), *over;

	after = mallinfo2();
	EXPECT(after.uordblks - before.uordblks >= 30000);
	EXPECT(after.uordblks - before.uordblks < 80000);
	EXPECT(after.hblks == before.hblks + 1);
	EXPECT(after.hblkhd - before.hblkhd >= 5 * MIB);
	EXPECT(after.arena == after.uordblks + after.fordblks);
	free(small);
	free(huge);
	freed = mallinfo2();
	EXPECT(freed.uordblks == before.uordblks && freed.hblks == before.hblks);
	over = malloc((size_t)3 << 30);
	EXPECT(over != NULL);
	after = mallinfo2();
	EXPECT(after.hblkhd >= (size_t)3 << 30);
	clipped = mallinfo();
	EXPECT(clipped.hblkhd == INT32_MAX);
	EXPECT(clipped.hblks == (int)after.hblks);
	free(over);
}

/* What stays mapped of forty huge blocks that are freed, each of 2 MiB, touched in part. */
static void keeps(void)
{
	char *blocks[40];
	struct mallinfo2 info;
	size_t before, full;

	before = resident();
	for (size_t i = 0; i < 40; i++)
		memset(blocks[i] = malloc(2 * MIB), 1, 2 * MIB);
	full = resident();
	EXPECT(full >= before + 79 * MIB);
	for (size_t i = 0; i < 40; i++)
		free(blocks[i]);
	info = mallinfo2();
	EXPECT(info.hblks == 0);
	printf("%zu\n", resident() - before);
}

static void options(void)
{
	EXPECT(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1);
	EXPECT(mallopt(M_MMAP_THRESHOLD, 64 << 20) == 1);
	EXPECT(mallopt(M_TRIM_THRESHOLD, -1) == 1);
	EXPECT(mallopt(M_TOP_PAD, 1 << 20) == 1);
	EXPECT(mallopt(M_MMAP_MAX, 0) == 1);
	EXPECT(mallopt(M_MXFAST, 0) == 1);
	EXPECT(mallopt(M_MXFAST, 160) == 1);
	EXPECT(mallopt(M_MXFAST, 161) == 0);
	EXPECT(mallopt(M_MXFAST, -1) == 0);
	EXPECT(mallopt(M_ARENA_MAX, 1) == 1);
	EXPECT(mallopt(M_PERTURB, 0) == 1);
	EXPECT(mallopt(12345, 1) == 1);
	void *block = malloc(10 * MIB);

	EXPECT(block != NULL);
	free(block);
}

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *block);

/* Old interposers take from one name and give to another. */
static void other_names(void)
{
	for (size_t size = 1; size < 4 * MIB; size = size * 3 + 1) {
		char *block = __libc_malloc(size);

		memset(block, 1, size);
		block = realloc(block, 2 * size);
		EXPECT(block[size - 1] == 1);
		free(block);
		__libc_free(malloc(size));
		block = __libc_calloc(size, 2);
		EXPECT(block[2 * size - 1] == 0);
		free(__libc_realloc(block, 5 * size));
		block = __libc_memalign(256, size);
		EXPECT((uintptr_t)block % 256 == 0);
		free(block);
	}
}

int main(int count, char **arguments)
{
	const char *name = count == 2 ? arguments[1] : "";
	void *held = malloc(12345);

	if (strcmp(name, "errors") == 0)
		errors();
	else if (strcmp(name, "resizing") == 0)
		resizing();
	else if (strcmp(name, "alignments") == 0)
		alignments(0);
	else if (strcmp(name, "waste") == 0)
		alignments(1);
	else if (strcmp(name, "trims") == 0)
		trims();
	else if (strcmp(name, "counts") == 0)
		counts();
	else if (strcmp(name, "keeps") == 0)
		keeps();
	else if (strcmp(name, "options") == 0)
		options();
	else if (strcmp(name, "other_names") == 0)
		other_names();
	else if (strcmp(name, "info") == 0)
		info();
	else if (strcmp(name, "any") == 0)
		any();
	else if (strcmp(name, "stats") == 0)
		malloc_stats();
	else
		return 2;
	EXPECT(malloc_usable_size(held) >= 12345);
	free(held);
	return 0;
}
