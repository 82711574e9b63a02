/* resident.h - how much memory this process has, by the kernel's count. */
#ifndef HAK_TESTS_RESIDENT_H
#define HAK_TESTS_RESIDENT_H

#include "unit.h"

#include "base/os.h"

#include <stdio.h>

static inline size_t resident_bytes(void)
{
	unsigned long pages = 0;
	FILE *statm = fopen("/proc/self/statm", "r");

	assert_non_null(statm);
	assert_int_equal(fscanf(statm, "%*u %lu", &pages), 1);
	fclose(statm);
	return pages * hak_os_page_bytes();
}

#endif
