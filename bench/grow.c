/* grow.c - blocks that grow.
 *
 * Goal     a buffer that is read into, a vector that is appended to: what realloc costs, and
 *          whether it copies what could stay or be moved by the kernel.
 * Method   ROUNDS times COUNT blocks begin at 16 bytes and grow in turn, each time by a half, until
 *          they have BYTES; the first and last byte, and one in each page that is new, are written,
 *          and the first is read. Then all are freed.
 */
#include "measure.h"

#include <stdlib.h>
#include <unistd.h>

#define FIRST_BYTES 16u
#define COUNT_MAX 1024u

static uint64_t round_count, block_count, byte_count;
static char *blocks[COUNT_MAX];

static char *grow(char *block, size_t old_size, size_t size)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	char *grown = realloc(block, size);
	volatile char *bytes = grown;

	if (grown == NULL)
		measure_fail("realloc");
	for (size_t i = old_size; i < size; i += page_bytes)
		bytes[i] = 1;
	bytes[size - 1] = 1;
	if (old_size != 0 && bytes[0] != 1)
		measure_wrong("a longer block that lost its first byte");
	bytes[0] = 1;
	return grown;
}

static uint64_t run_round(void)
{
	uint64_t calls = 0;
	size_t old_size = 0;

	for (size_t size = FIRST_BYTES; old_size < byte_count; size += size / 2) {
		size = size > byte_count ? byte_count : size;
		for (uint64_t i = 0; i < block_count; i++)
			blocks[i] = grow(blocks[i], old_size, size);
		calls += block_count;
		old_size = size;
	}
	for (uint64_t i = 0; i < block_count; i++) {
		free(blocks[i]);
		blocks[i] = NULL;
	}
	return calls;
}

int main(int argc, char **argv)
{
	static const char usage[] = "usage: grow COUNT BYTES ROUNDS\n"
				    "\n"
				    "  COUNT   blocks that grow in turn, 1 to 1024\n"
				    "  BYTES   size that each reaches\n"
				    "  ROUNDS  how often\n";
	const struct measure_argument arguments[] = {
		{"COUNT", 1, COUNT_MAX, &block_count},
		{"BYTES", FIRST_BYTES, UINT64_C(1) << 36, &byte_count},
		{"ROUNDS", 1, UINT32_MAX, &round_count},
	};
	struct measure_result result = {.program = "grow"};

	measure_arguments(argc, argv, 1, usage, arguments, 3);

	double start_seconds = measure_now_seconds();

	for (uint64_t round = 0; round < round_count; round++)
		result.operations += run_round();
	result.seconds = measure_now_seconds() - start_seconds;
	measure_print(&result, NULL);
	return EXIT_SUCCESS;
}
