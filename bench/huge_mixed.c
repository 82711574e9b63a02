/* huge_mixed.c - big blocks of mixed sizes that die in random order.
 *
 * Goal     images, matrices, columns: a few buffers of 5 to 25 MiB alive at a time, each of another
 *          size than the one before it.
 * Method   an iteration picks one of SLOTS slots, frees its block, and puts another one there of
 *          which every page is written.
 */
#include "measure.h"

#include <stdlib.h>
#include <unistd.h>

#define SLOTS_MAX 256u
#define BYTES_MIN ((size_t)5 << 20)
#define BYTES_MAX ((size_t)25 << 20)

static uint64_t slot_count, iterations, seed;
static void *slots[SLOTS_MAX];

static void churn(void)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	uint64_t random = seed;

	for (uint64_t left = iterations; left > 0; left--) {
		uint64_t bits = measure_random(&random);
		void **slot = &slots[measure_scale((uint32_t)(bits >> 32), slot_count)];
		size_t size = BYTES_MIN + measure_scale((uint32_t)bits, BYTES_MAX - BYTES_MIN);
		volatile char *bytes;

		free(*slot);
		*slot = measure_malloc(size);
		bytes = *slot;
		for (size_t i = 0; i < size; i += page_bytes)
			bytes[i] = 1;
	}
}

int main(int argc, char **argv)
{
	static const char usage[] = "usage: huge_mixed ITERATIONS SLOTS SEED\n"
				    "\n"
				    "  ITERATIONS  how often a block is replaced\n"
				    "  SLOTS       blocks alive at most, 1 to 256\n"
				    "  SEED        of slots and sizes\n";
	const struct measure_argument arguments[] = {
		{"ITERATIONS", 1, UINT32_MAX, &iterations},
		{"SLOTS", 1, SLOTS_MAX, &slot_count},
		{"SEED", 0, UINT32_MAX, &seed},
	};
	struct measure_result result = {.program = "huge_mixed"};

	measure_arguments(argc, argv, 1, usage, arguments, 3);

	double start_seconds = measure_now_seconds();

	churn();
	result.seconds = measure_now_seconds() - start_seconds;
	result.operations = iterations;
	result.peak_bytes = measure_peak_bytes();
	for (uint64_t i = 0; i < slot_count; i++)
		free(slots[i]);
	measure_print(&result, NULL);
	return EXIT_SUCCESS;
}
