#include "work.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BLOCKS 600
#define THREADS_MAX 16

struct work_calls work_calls = {malloc, calloc, realloc, posix_memalign, free};

void work_fail(const char *words, int line)
{
	char text[200];
	int length = snprintf(text, sizeof text, "line %d: not so: %s (errno %d)\n", line, words,
			      errno);

	if (write(STDERR_FILENO, text, (size_t)length) < 0)
		_exit(2);
	_exit(1);
}

void work_skip(const char *why)
{
	printf("skipped: %s\n", why);
	exit(77);
}

struct held {
	unsigned char *start;
	size_t size;
};

/* Every byte of a small block, some of a large one, the last in any case. */
static size_t step_of(size_t size)
{
	return size < 5000 ? 1 : 997;
}

static void fill(const struct held *held, unsigned char mark)
{
	for (size_t i = 0; i < held->size; i += step_of(held->size))
		held->start[i] = mark;
	if (held->size != 0)
		held->start[held->size - 1] = mark;
}

static void check(const struct held *held, size_t bytes, unsigned char mark)
{
	for (size_t i = 0; i < bytes; i += step_of(held->size))
		EXPECT(held->start[i] == mark);
	if (bytes == held->size && bytes != 0)
		EXPECT(held->start[bytes - 1] == mark);
}

static void release(struct held *held, unsigned char mark)
{
	if (held->start == NULL)
		return;
	check(held, held->size, mark);
	errno = EDOM;
	work_calls.free(held->start);
	EXPECT(errno == EDOM);
	held->start = NULL;
}

/* From every road: magazines, slabs of each kind, runs, mappings. */
static size_t size_of(unsigned i)
{
	static const size_t sizes[] = {0, 16, 100, 1000, 5000, 30000, 33000, 100000};

	if (i % 100 == 50)
		return MIB + i * 1000;
	return sizes[i % 8] + i % 13;
}

/* False: there was no memory. */
static bool make(struct held *held, unsigned i)
{
	void *block = NULL;
	int error;

	held->size = size_of(i);
	errno = 0;
	switch (i % 5) {
	case 0:
		block = work_calls.calloc(1, held->size);
		for (size_t j = 0; block != NULL && j < held->size; j += step_of(held->size))
			EXPECT(((unsigned char *)block)[j] == 0);
		break;
	case 1:
		error = work_calls.posix_memalign(&block, (size_t)64 << i % 9, held->size);
		EXPECT(error == 0 || (error == ENOMEM && block == NULL && errno == 0));
		EXPECT(((uintptr_t)block & (((size_t)64 << i % 9) - 1)) == 0);
		errno = error;
		break;
	default:
		block = work_calls.malloc(held->size);
	}
	EXPECT(block != NULL ? errno == 0 : errno == ENOMEM);
	held->start = block;
	if (block != NULL)
		fill(held, (unsigned char)i);
	return block != NULL;
}

static bool resize(struct held *held, unsigned i)
{
	size_t size = i % 2 == 0 ? held->size * 2 + 1 : held->size / 3;
	size_t kept = size < held->size ? size : held->size;

	errno = 0;
	unsigned char *moved = work_calls.realloc(held->start, size);

	EXPECT(moved != NULL ? errno == 0 : errno == ENOMEM);
	if (moved == NULL)
		return false;
	held->start = moved;
	check(held, kept, (unsigned char)i);
	held->size = size;
	fill(held, (unsigned char)i);
	return true;
}

unsigned work(void)
{
	struct held held[BLOCKS];
	unsigned refused = 0;

	for (unsigned i = 0; i < BLOCKS; i++)
		refused += !make(&held[i], i);
	for (unsigned i = 0; i < BLOCKS; i += 3)
		if (held[i].start != NULL)
			refused += !resize(&held[i], i);
	for (unsigned i = 1; i <= BLOCKS; i++) /* 7 and BLOCKS have no common divisor */
		release(&held[i * 7 % BLOCKS], (unsigned char)(i * 7 % BLOCKS));
	return refused;
}

static void *work_rounds(void *rounds)
{
	uintptr_t refused = 0;

	for (uintptr_t i = 0; i < (uintptr_t)rounds; i++)
		refused += work();
	return (void *)refused;
}

unsigned work_in_threads(unsigned count, unsigned rounds)
{
	pthread_t threads[THREADS_MAX];
	unsigned missing = 0;

	EXPECT(count <= THREADS_MAX);
	for (unsigned i = 0; i + missing < count;) {
		if (pthread_create(&threads[i], NULL, work_rounds, (void *)(uintptr_t)rounds) == 0)
			i++;
		else
			missing++;
	}
	for (unsigned i = 0; i < count - missing; i++)
		EXPECT(pthread_join(threads[i], NULL) == 0);
	return missing;
}

/* A block holds the address of the one before it and its number. */
static size_t fill_up(size_t size)
{
	uintptr_t(*last)[2] = NULL;
	uintptr_t(*block)[2];
	size_t count = 0;

	errno = 0;
	while ((block = work_calls.malloc(size)) != NULL) {
		EXPECT(errno == 0);
		(*block)[0] = (uintptr_t)last;
		(*block)[1] = count++;
		last = block;
	}
	EXPECT(errno == ENOMEM);
	for (size_t left = count; left-- != 0;) {
		uintptr_t before = (*last)[0];

		EXPECT((*last)[1] == left);
		work_calls.free(last);
		last = (uintptr_t(*)[2])before;
	}
	return count;
}

size_t work_until_none(size_t size)
{
	size_t first = fill_up(size), second = fill_up(size);

	return first < second ? first : second;
}

size_t work_resident_bytes(void)
{
	unsigned long pages = 0;
	FILE *statm = fopen("/proc/self/statm", "re");

	EXPECT(statm != NULL && fscanf(statm, "%*u %lu", &pages) == 1);
	fclose(statm);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

void work_sleep_ms(long ms)
{
	static int nobody_wakes;
	struct timespec timeout = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	syscall(SYS_futex, &nobody_wakes, FUTEX_WAIT_PRIVATE, 0, &timeout, NULL, 0);
}

void work_forbid_all_but_malloc(void)
{
	static const unsigned allowed[] = {
		SYS_brk,      SYS_mmap,	 SYS_munmap, SYS_mremap, SYS_madvise,
		SYS_mprotect, SYS_futex, SYS_read,   SYS_write,	 SYS_exit_group,
	};
	size_t count = sizeof allowed / sizeof *allowed;
	struct sock_filter program[sizeof allowed / sizeof *allowed + 3];
	struct sock_fprog filter = {.len = (unsigned short)(count + 3), .filter = program};

	program[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						  offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < count; i++)
		program[i + 1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i],
							      (unsigned char)(count - i), 0);
	program[count + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
							  SECCOMP_RET_KILL_PROCESS);
	program[count + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	EXPECT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	EXPECT(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) ==
	       0);
}

/* Weak, since it may not be there: the program is linked without it. */
extern const char *hak_version(void) __attribute__((weak));

bool work_is_ours(void)
{
	return hak_version != NULL;
}
