/* sharing.c - threads that write their own blocks, side by side.
 *
 * Goal     whether an allocator puts blocks of two threads into one line of the processors' caches,
 *          which then travels between them with every write.
 * Method   THREADS threads each ROUNDS times allocate a block of BYTES, write it 1,000 times and
 *          free it (active). With --handed, all first get a block that one thread has allocated,
 *          neighbours mostly, and free it before they begin (passive): an allocator that keeps what
 *          a thread frees for that thread hands the neighbours out again. After Berger et al.,
 *          "Hoard" (ASPLOS 2000).
 */
#include "measure.h"

#include <getopt.h>
#include <stdlib.h>

#define THREADS_MAX 256u
#define WRITES 1000u

static uint64_t thread_count, round_count, byte_count;
static void *handed[THREADS_MAX];

static void work(unsigned number)
{
	free(handed[number]);
	for (uint64_t round = 0; round < round_count; round++) {
		void *block = measure_malloc(byte_count);
		volatile unsigned char *bytes = block;

		for (unsigned i = 0; i < WRITES; i++)
			bytes[i % byte_count]++;
		free(block);
	}
}

int main(int argc, char **argv)
{
	static const char usage[] =
		"usage: sharing [--handed] THREADS ROUNDS BYTES\n"
		"\n"
		"  --handed  each thread first frees a block of the first thread\n"
		"  THREADS   1 to 256\n"
		"  ROUNDS    blocks that each allocates, one after the other\n"
		"  BYTES     of a block, 1 to 1024\n";
	static const struct option options[] = {
		{"handed", no_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const struct measure_argument arguments[] = {
		{"THREADS", 1, THREADS_MAX, &thread_count},
		{"ROUNDS", 1, UINT32_MAX, &round_count},
		{"BYTES", 1, 1024, &byte_count},
	};
	struct measure_result result = {.program = "sharing"};
	int letter = getopt_long(argc, argv, "+", options, NULL);

	if (letter == '?')
		measure_refuse(usage, "there is no option ", argv[optind - 1]);
	if (letter == 'h')
		optind--; /* measure_arguments() knows it */
	measure_arguments(argc, argv, optind, usage, arguments, 3);
	for (uint64_t i = 0; letter == 'c' && i < thread_count; i++)
		handed[i] = measure_malloc(byte_count);
	result.seconds = measure_threads((unsigned)thread_count, work);
	result.operations = thread_count * round_count * WRITES;
	measure_print(&result, NULL);
	return EXIT_SUCCESS;
}
