/* huge_churn.c - one big block, allocated and freed in turn.
 *
 * Goal     what an allocator does with mappings that come back: unmapping each costs two system
 *          calls and a fault for every page, keeping them costs memory.
 * Method   ROUNDS times a block of BYTES is allocated, one byte of each of its pages is written,
 *          and it is freed. With --no-touch nothing is written: that is the cost of the two calls
 *          alone, for a program that uses little of what it asks for.
 */
#include "measure.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct options {
	uint64_t block_bytes;
	uint64_t round_count;
	bool touch;
};

static void touch_pages(void *block, size_t block_bytes, size_t page_bytes)
{
	volatile char *bytes = block;

	for (size_t i = 0; i < block_bytes; i += page_bytes)
		bytes[i] = 1;
}

static void churn(const struct options *options)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);

	for (uint64_t left = options->round_count; left > 0; left--) {
		void *block = malloc(options->block_bytes);

		if (block == NULL) {
			fputs("huge_churn: malloc returned NULL\n", stderr);
			exit(MEASURE_EXIT_FAILURE);
		}
		if (options->touch)
			touch_pages(block, options->block_bytes, page_bytes);
		/* The compiler must believe that somebody looks at the block, or it drops the pair
		 * of calls. */
		__asm__ volatile("" : : "r"(block) : "memory");
		free(block);
	}
}

static void print_usage(FILE *stream)
{
	fputs("usage: huge_churn [--no-touch] BYTES ROUNDS\n"
	      "\n"
	      "  BYTES       size of the block\n"
	      "  ROUNDS      how often it is allocated and freed\n"
	      "  --no-touch  do not write to its pages\n"
	      "  --help      this text\n",
	      stream);
}

static bool parse_options(int argc, char **argv, struct options *options)
{
	static const struct option long_options[] = {
		{"no-touch", no_argument, NULL, 'n'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int letter;

	while ((letter = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (letter == 'h') {
			print_usage(stdout);
			exit(EXIT_SUCCESS);
		}
		if (letter != 'n')
			return false;
		options->touch = false;
	}
	return argc - optind == 2 &&
	       measure_parse(argv[optind], 1, PTRDIFF_MAX, &options->block_bytes) &&
	       measure_parse(argv[optind + 1], 1, UINT64_MAX, &options->round_count);
}

int main(int argc, char **argv)
{
	struct options options = {.touch = true};

	if (!parse_options(argc, argv, &options)) {
		print_usage(stderr);
		return MEASURE_EXIT_USAGE;
	}

	double start_seconds = measure_now_seconds();

	churn(&options);

	double seconds = measure_now_seconds() - start_seconds;
	uint64_t peak_bytes = measure_peak_bytes();
	uint64_t resident_bytes = measure_resident_bytes();
	const char *allocator = measure_allocator_path();

	printf("allocator         %s\n", allocator);
	printf("rounds            %.6f s, %.3f us each\n", seconds,
	       seconds * 1e6 / (double)options.round_count);
	printf("peak memory       %" PRIu64 " bytes\n", peak_bytes);
	printf("resident          %" PRIu64 " bytes after the last free\n", resident_bytes);
	printf("program=huge_churn seconds=%.9f peak_bytes=%" PRIu64 " resident_bytes=%" PRIu64
	       " allocator=%s\n",
	       seconds, peak_bytes, resident_bytes, allocator);
	return EXIT_SUCCESS;
}
