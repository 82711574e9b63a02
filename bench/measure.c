/* measure.c - see measure.h. */
#include "measure.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* /proc/self/status and smaps_rollup are about 1.5 KiB each. */
#define PROC_FILE_BYTES_MAX 8192

double measure_now_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void measure_fail(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
	exit(MEASURE_EXIT_FAILURE);
}

void measure_wrong(const char *what)
{
	fprintf(stderr, "%s: the allocator gave %s\n", program_invocation_short_name, what);
	exit(MEASURE_EXIT_FAILURE);
}

void *measure_malloc(size_t bytes)
{
	void *block = malloc(bytes);

	if (block == NULL)
		measure_fail("malloc");
	return block;
}

/* Reads the line "key   number kB". read(2) and a buffer on the stack: stdio would allocate. */
static uint64_t proc_bytes(const char *path, const char *key)
{
	char text[PROC_FILE_BYTES_MAX];
	size_t used = 0;
	ssize_t got;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		measure_fail(path);
	while (used < sizeof(text) - 1 &&
	       (got = read(fd, text + used, sizeof(text) - 1 - used)) > 0)
		used += (size_t)got;
	close(fd);
	text[used] = '\0';

	char *line = strstr(text, key);

	if (line == NULL) {
		errno = ENODATA;
		measure_fail(path);
	}
	return strtoull(line + strlen(key), NULL, 10) * 1024;
}

uint64_t measure_peak_bytes(void)
{
	return proc_bytes("/proc/self/status", "\nVmHWM:");
}

uint64_t measure_resident_bytes(void)
{
	return proc_bytes("/proc/self/smaps_rollup", "\nRss:");
}

uint64_t measure_marked_bytes(void)
{
	return proc_bytes("/proc/self/smaps_rollup", "\nLazyFree:");
}

const char *measure_allocator_path(void)
{
	Dl_info info;
	void *entry = dlsym(RTLD_DEFAULT, "malloc");

	if (entry == NULL || dladdr(entry, &info) == 0 || info.dli_fname == NULL)
		return "unknown";
	return info.dli_fname;
}

bool measure_parse(const char *text, uint64_t min, uint64_t max, uint64_t *number)
{
	char *end;

	/* strtoull takes a sign and white space before the number; a count has neither. */
	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	unsigned long long parsed = strtoull(text, &end, 10);

	if (errno != 0 || *end != '\0' || parsed < min || parsed > max)
		return false;
	*number = parsed;
	return true;
}

void measure_refuse(const char *usage, const char *what, const char *word)
{
	fprintf(stderr, "%s\n%s: %s%s\n", usage, program_invocation_short_name, what, word);
	exit(MEASURE_EXIT_USAGE);
}

void measure_arguments(int argc, char **argv, int first, const char *usage,
		       const struct measure_argument *arguments, size_t count)
{
	if (argc > first && strcmp(argv[first], "--help") == 0) {
		fputs(usage, stdout);
		exit(EXIT_SUCCESS);
	}
	for (size_t i = 0; i < count; i++) {
		if (first + (int)i >= argc)
			measure_refuse(usage, "what is missing is ", arguments[i].name);
		if (!measure_parse(argv[first + (int)i], arguments[i].min, arguments[i].max,
				   arguments[i].number))
			measure_refuse(usage, "this makes no sense: ", argv[first + (int)i]);
	}
	if (first + (int)count < argc)
		measure_refuse(usage, "this is too much: ", argv[first + (int)count]);
}

static void (*thread_work)(unsigned number);
static pthread_barrier_t threads_ready;
static struct thread_times {
	double entered_seconds;
	double left_seconds;
} thread_times[MEASURE_THREADS_MAX];

static void *run_thread(void *number_as_pointer)
{
	unsigned number = (unsigned)(uintptr_t)number_as_pointer;

	pthread_barrier_wait(&threads_ready);
	thread_times[number].entered_seconds = measure_now_seconds();
	thread_work(number);
	thread_times[number].left_seconds = measure_now_seconds();
	return NULL;
}

double measure_threads(unsigned count, void (*work)(unsigned number))
{
	pthread_t *threads = measure_map(count * sizeof(*threads));
	double entered, left;

	thread_work = work;
	pthread_barrier_init(&threads_ready, NULL, count);
	/* With one, a process that never makes a second: allocators may and do have a shorter path
	 * there. */
	for (unsigned i = 0; count > 1 && i < count; i++) {
		errno = pthread_create(&threads[i], NULL, run_thread, (void *)(uintptr_t)i);
		if (errno != 0)
			measure_fail("pthread_create");
	}
	if (count == 1)
		run_thread(NULL);
	for (unsigned i = 0; count > 1 && i < count; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&threads_ready);
	munmap(threads, count * sizeof(*threads));
	entered = thread_times[0].entered_seconds;
	left = thread_times[0].left_seconds;
	for (unsigned i = 1; i < count; i++) {
		const struct thread_times *times = &thread_times[i];

		entered = times->entered_seconds < entered ? times->entered_seconds : entered;
		left = times->left_seconds > left ? times->left_seconds : left;
	}
	return left - entered;
}

static void churn(void **slots, uint64_t iterations, uint64_t slot_count, uint64_t seed,
		  void *(*new_block)(uint64_t bits))
{
	uint64_t random = seed;

	for (uint64_t left = iterations; left > 0; left--) {
		uint64_t bits = measure_random(&random);
		void **slot = &slots[measure_scale((uint32_t)(bits >> 32), slot_count)];

		if (*slot != NULL) {
			free(*slot);
			*slot = NULL;
		} else {
			*slot = new_block(measure_random(&random));
		}
	}
}

void measure_churn(uint64_t iterations, uint64_t slot_count, uint64_t seed,
		   void *(*new_block)(uint64_t bits), struct measure_result *result)
{
	void **slots = measure_map(slot_count * sizeof(*slots));
	double start_seconds = measure_now_seconds();

	churn(slots, iterations, slot_count, seed, new_block);
	result->seconds = measure_now_seconds() - start_seconds;
	result->operations = iterations;
	result->peak_bytes = measure_peak_bytes();
	for (uint64_t i = 0; i < slot_count; i++)
		free(slots[i]);
	munmap(slots, slot_count * sizeof(*slots));
}

void measure_print(const struct measure_result *result, const char *more, ...)
{
	/* Before printf, which allocates. */
	uint64_t peak = result->peak_bytes != 0 ? result->peak_bytes : measure_peak_bytes();
	uint64_t resident = result->resident_bytes != 0 ? result->resident_bytes
							: measure_resident_bytes();
	const char *allocator = measure_allocator_path();
	va_list words;

	printf("allocator         %s\n", allocator);
	printf("time              %.6f s", result->seconds);
	if (result->operations != 0)
		printf(", %.3f ns for each of %" PRIu64 " operations",
		       result->seconds * 1e9 / (double)result->operations, result->operations);
	printf("\npeak memory       %" PRIu64 " bytes\n", peak);
	printf("resident          %" PRIu64 " bytes at the end\n", resident);
	printf("program=%s seconds=%.9f peak_bytes=%" PRIu64 " resident_bytes=%" PRIu64,
	       result->program, result->seconds, peak, resident);
	if (more != NULL) {
		putchar(' ');
		va_start(words, more);
		vprintf(more, words);
		va_end(words);
	}
	printf(" allocator=%s\n", allocator);
}

void *measure_map(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		measure_fail("mmap");
	return memory;
}
