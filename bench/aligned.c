/* aligned.c - blocks that must lie at multiples of something.
 *
 * Goal     vectors, cache lines, pages for direct I/O: what alignment costs in time and in memory.
 * Method   as random_mixed, but blocks come from posix_memalign, with alignments of 16 to 4096
 *          bytes and sizes of 16 to 4096, all alike.
 */
#include "measure.h"

#include <stdlib.h>

#define LOG2_MIN 4u
#define LOG2_MAX 12u

static uint64_t iterations, slot_count, seed;

static void *new_block(uint64_t bits)
{
	size_t alignment = (size_t)1 << (LOG2_MIN + bits % (LOG2_MAX - LOG2_MIN + 1));
	size_t size = 16 + measure_scale((uint32_t)(bits >> 8), 4096 - 16 + 1);
	void *block;

	if (posix_memalign(&block, alignment, size) != 0)
		measure_fail("posix_memalign");
	if ((uintptr_t)block % alignment != 0)
		measure_wrong("a block that is not aligned");
	measure_touch_ends(block, size);
	return block;
}

int main(int argc, char **argv)
{
	static const char usage[] =
		"usage: aligned ITERATIONS SLOTS SEED\n"
		"\n"
		"  ITERATIONS  how often a slot is picked: one allocation or one free\n"
		"  SLOTS       half of them are filled on average\n"
		"  SEED        of slots, sizes and alignments\n";
	const struct measure_argument arguments[] = {
		{"ITERATIONS", 1, UINT32_MAX, &iterations},
		{"SLOTS", 1, UINT64_C(1) << 28, &slot_count},
		{"SEED", 0, UINT32_MAX, &seed},
	};
	struct measure_result result = {.program = "aligned"};

	measure_arguments(argc, argv, 1, usage, arguments, 3);
	measure_churn(iterations, slot_count, seed, new_block, &result);
	measure_print(&result, NULL);
	return EXIT_SUCCESS;
}
