/* resident.h - how much memory this process has, by the kernel's count. */
#ifndef HAK_TESTS_RESIDENT_H
#define HAK_TESTS_RESIDENT_H

#include "unit.h"

#include "base/os.h"

#include <stdio.h>
#include <string.h>

static inline size_t resident_bytes(void)
{
	unsigned long pages = 0;
	FILE *statm = fopen("/proc/self/statm", "r");

	assert_non_null(statm);
	assert_int_equal(fscanf(statm, "%*u %lu", &pages), 1);
	fclose(statm);
	return pages * hak_os_page_bytes();
}

/* A line of smaps, such as "Rss:", summed over the mappings that begin in a range of addresses. The
 * kernel's own count, true to the page. */
static inline size_t smaps_bytes(const char *line_name, uintptr_t from, uintptr_t to)
{
	FILE *smaps = fopen("/proc/self/smaps", "r");
	unsigned long start, end, kib;
	bool is_inside = false;
	char line[256], name[64];
	size_t bytes = 0;

	assert_non_null(smaps);
	while (fgets(line, sizeof line, smaps) != NULL) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			is_inside = start >= from && start < to;
		else if (is_inside && sscanf(line, "%63s %lu kB", name, &kib) == 2 &&
			 strcmp(name, line_name) == 0)
			bytes += kib << 10;
	}
	fclose(smaps);
	return bytes;
}

#endif
