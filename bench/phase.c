/* phase.c - a large set that is built, used and thrown away.
 *
 * Goal     a compiler's or a batch job's heap: everything is allocated first and freed later, in
 *          the order of its birth, the other way round, or in none.
 * Method   ROUNDS times blocks of 16..1024 bytes are allocated, their ends written, until BYTES are
 *          held, and all are freed in the given order. The random order is drawn once.
 */
#include "measure.h"

#include <stdlib.h>
#include <string.h>

static uint64_t round_count, byte_count, seed;

static void **blocks;
static uint32_t *order;
static size_t block_count;

static size_t count_blocks(void)
{
	uint64_t random = seed;
	size_t count = 0;

	for (uint64_t held = 0; held < byte_count; count++)
		held += measure_random_size((uint32_t)measure_random(&random));
	return count;
}

/* False: there is no order of that name. */
static bool draw_order(const char *name)
{
	uint64_t random = ~seed;
	bool backwards = strcmp(name, "reverse") == 0;
	bool shuffled = strcmp(name, "random") == 0;

	for (size_t i = 0; i < block_count; i++)
		order[i] = (uint32_t)(backwards ? block_count - 1 - i : i);
	for (size_t i = block_count; shuffled && i > 1; i--) {
		size_t j = measure_scale((uint32_t)measure_random(&random), i);
		uint32_t last = order[i - 1];

		order[i - 1] = order[j];
		order[j] = last;
	}
	return backwards || shuffled || strcmp(name, "same") == 0;
}

static void build(void)
{
	uint64_t random = seed;

	for (size_t i = 0; i < block_count; i++) {
		size_t size = measure_random_size((uint32_t)measure_random(&random));

		blocks[i] = measure_malloc(size);
		measure_touch_ends(blocks[i], size);
	}
}

int main(int argc, char **argv)
{
	static const char usage[] =
		"usage: phase same|reverse|random ROUNDS BYTES SEED\n"
		"\n"
		"  same, reverse, random  the order in which blocks are freed\n"
		"  ROUNDS                 how often the set is built and freed\n"
		"  BYTES                  size of the set\n"
		"  SEED                   of sizes and of the order\n";
	const struct measure_argument arguments[] = {
		{"ROUNDS", 1, UINT32_MAX, &round_count},
		{"BYTES", 1, UINT64_C(1) << 36, &byte_count},
		{"SEED", 0, UINT32_MAX, &seed},
	};
	struct measure_result result = {.program = "phase"};
	bool is_help = argc > 1 && strcmp(argv[1], "--help") == 0;

	measure_arguments(argc, argv, is_help ? 1 : 2, usage, arguments, 3);
	block_count = count_blocks();
	blocks = measure_map(block_count * sizeof(*blocks));
	order = measure_map(block_count * sizeof(*order));
	if (!draw_order(argv[1]))
		measure_refuse(usage, "there is no order ", argv[1]);
	double start_seconds = measure_now_seconds();

	for (uint64_t round = 0; round < round_count; round++) {
		build();
		for (size_t i = 0; i < block_count; i++)
			free(blocks[order[i]]);
	}
	result.seconds = measure_now_seconds() - start_seconds;
	result.operations = 2 * round_count * block_count;
	measure_print(&result, NULL);
	return EXIT_SUCCESS;
}
