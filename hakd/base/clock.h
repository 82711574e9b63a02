/* clock.h - the monotonic clock in nanoseconds, which libhak uses for its stamps too. */
#ifndef HAKD_BASE_CLOCK_H
#define HAKD_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define CLOCK_SECOND_NS ((uint64_t)1000000000)

static inline uint64_t clock_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * CLOCK_SECOND_NS + (uint64_t)now.tv_nsec;
}

#endif
