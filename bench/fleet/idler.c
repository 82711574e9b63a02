/* idler.c - a large heap for a moment, and then nothing: the program of bench/fleet/idle.
 *
 * Goal     a heap as burst.c makes it, in a program that others look at from outside.
 * Method   blocks of 16..4096 bytes are allocated until BYTES are held, each of their pages is
 *          written, and PERCENT of them, drawn at random, are freed. With PAUSE not 0 it then
 *          sleeps for so many milliseconds and works for a moment, so that its malloc has slow
 *          paths. It says what it had resident before the heap and with it, and waits for a line
 *          without a further call of malloc.
 */
#include "bulk.h"
#include "measure.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define LIGHT_ROUNDS 16

static uint64_t byte_count, percent, pause_ms, seed;

static struct bulk bulk;

static void take_all(void)
{
	for (size_t i = 0; i < bulk.slot_count; i++) {
		struct bulk_slot *slot = &bulk.slots[i];

		slot->block = measure_malloc(slot->size);
		measure_touch_ends(slot->block, slot->size);
	}
}

static void work_later(void)
{
	const struct timespec pause = {.tv_sec = (time_t)(pause_ms / 1000),
				       .tv_nsec = (long)(pause_ms % 1000 * 1000000)};
	uint64_t random = seed;

	if (pause_ms == 0)
		return;
	nanosleep(&pause, NULL);
	for (int i = 0; i < LIGHT_ROUNDS; i++)
		bulk_work_once(&random);
}

/* By write(2): stdio would allocate, and be the last slow path. */
static void say(const char *text, size_t length)
{
	if (write(STDOUT_FILENO, text, length) != (ssize_t)length)
		measure_fail("cannot write");
}

int main(int argc, char **argv)
{
	static const char usage[] =
		"usage: idler BYTES PERCENT PAUSE SEED\n"
		"\n"
		"  BYTES    size of the heap\n"
		"  PERCENT  of its blocks are freed, drawn at random, 0 to 100\n"
		"  PAUSE    in milliseconds, then a moment of work; 0: neither\n"
		"  SEED     of sizes and of the draw\n";
	const struct measure_argument arguments[] = {
		{"BYTES", 1, UINT64_C(1) << 36, &byte_count},
		{"PERCENT", 0, 100, &percent},
		{"PAUSE", 0, 60000, &pause_ms},
		{"SEED", 0, UINT32_MAX, &seed},
	};
	char line[128];
	uint64_t base;
	int length;

	measure_arguments(argc, argv, 1, usage, arguments, 4);
	bulk = bulk_plan(byte_count, seed);
	base = measure_resident_bytes();
	take_all();
	length = snprintf(line, sizeof line, "base_bytes=%" PRIu64 " full_bytes=%" PRIu64 "\n",
			  base, measure_resident_bytes() - base);
	bulk_free(&bulk, percent, seed);
	work_later();
	say(line, (size_t)length);
	if (read(STDIN_FILENO, line, sizeof line) < 0)
		return EXIT_FAILURE;
	return EXIT_SUCCESS;
}
