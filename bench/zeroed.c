/* zeroed.c - blocks of mixed sizes from calloc.
 *
 * Goal     what it costs to have zeroes: whether memory that is known to be zero is written again,
 *          and whether large blocks are cleared by hand or by new pages.
 * Method   as random_mixed, but blocks come from calloc and their sizes are spread evenly over the
 *          powers of two from 16 bytes to 1 MiB. The last word of each is read, and must be zero;
 *          then its ends are written.
 */
#include "measure.h"

#include <stdlib.h>

#define LOG2_MIN 4u
#define LOG2_MAX 20u

static uint64_t iterations, slot_count, seed;

static size_t draw_size(uint32_t bits)
{
	unsigned log2 = LOG2_MIN + (unsigned)measure_scale(bits, LOG2_MAX - LOG2_MIN);
	size_t size = (size_t)1 << log2;

	return size + (bits & (size - 1));
}

static void *new_block(uint64_t bits)
{
	size_t size = draw_size((uint32_t)bits);
	unsigned char *block = calloc(size / 8, 8);

	if (block == NULL)
		measure_fail("calloc");
	if (block[0] != 0 || block[size / 8 * 8 - 1] != 0)
		measure_wrong("a block that is not zero");
	measure_touch_ends(block, size / 8 * 8);
	return block;
}

int main(int argc, char **argv)
{
	static const char usage[] =
		"usage: zeroed ITERATIONS SLOTS SEED\n"
		"\n"
		"  ITERATIONS  how often a slot is picked: one calloc or one free\n"
		"  SLOTS       half of them are filled on average\n"
		"  SEED        of slots and sizes\n";
	const struct measure_argument arguments[] = {
		{"ITERATIONS", 1, UINT32_MAX, &iterations},
		{"SLOTS", 1, UINT64_C(1) << 28, &slot_count},
		{"SEED", 0, UINT32_MAX, &seed},
	};
	struct measure_result result = {.program = "zeroed"};

	measure_arguments(argc, argv, 1, usage, arguments, 3);
	measure_churn(iterations, slot_count, seed, new_block, &result);
	measure_print(&result, NULL);
	return EXIT_SUCCESS;
}
