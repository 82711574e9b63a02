/* measure.c - see measure.h. */
#include "measure.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
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

static void fail(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(MEASURE_EXIT_FAILURE);
}

/* Reads the line "key   number kB". read(2) and a buffer on the stack: stdio would allocate. */
static uint64_t proc_bytes(const char *path, const char *key)
{
	char text[PROC_FILE_BYTES_MAX];
	size_t used = 0;
	ssize_t got;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		fail(path);
	while (used < sizeof(text) - 1 &&
	       (got = read(fd, text + used, sizeof(text) - 1 - used)) > 0)
		used += (size_t)got;
	close(fd);
	text[used] = '\0';

	char *line = strstr(text, key);

	if (line == NULL) {
		errno = ENODATA;
		fail(path);
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

void *measure_map(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		fail("mmap");
	return memory;
}
