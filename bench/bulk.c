#include "bulk.h"

#include "measure.h"

#include <stdlib.h>
#include <time.h>

#define BLOCK_BYTES_MIN 16u
#define BLOCK_BYTES_MAX 4096u
#define LIGHT_STEP_NS 10000000L

static size_t draw_size(uint64_t *random)
{
	return BLOCK_BYTES_MIN + measure_scale((uint32_t)measure_random(random),
					       BLOCK_BYTES_MAX - BLOCK_BYTES_MIN + 1);
}

struct bulk bulk_plan(uint64_t byte_count, uint64_t seed)
{
	struct bulk bulk = {.slot_count = 0};
	uint64_t random = seed;

	for (uint64_t held = 0; held < byte_count; bulk.slot_count++)
		held += draw_size(&random);
	bulk.slots = measure_map(bulk.slot_count * sizeof(*bulk.slots));
	random = seed;
	for (size_t i = 0; i < bulk.slot_count; i++)
		bulk.slots[i].size = draw_size(&random);
	return bulk;
}

void bulk_free(struct bulk *bulk, uint64_t percent, uint64_t seed)
{
	uint64_t random = ~seed;

	for (size_t i = 0; i < bulk->slot_count; i++) {
		if (measure_scale((uint32_t)measure_random(&random), 100) >= percent)
			continue;
		free(bulk->slots[i].block);
		bulk->slots[i].block = NULL;
	}
}

void bulk_work_once(uint64_t *random)
{
	void *blocks[BULK_LIGHT_BLOCKS];

	for (size_t i = 0; i < BULK_LIGHT_BLOCKS; i++) {
		size_t size = draw_size(random);

		blocks[i] = measure_malloc(size);
		measure_touch_ends(blocks[i], size);
	}
	for (size_t i = 0; i < BULK_LIGHT_BLOCKS; i++)
		free(blocks[i]);
}

void bulk_work_lightly(double seconds, uint64_t seed)
{
	const struct timespec step = {.tv_nsec = LIGHT_STEP_NS};
	double end_seconds = measure_now_seconds() + seconds;
	uint64_t random = seed;

	while (measure_now_seconds() < end_seconds) {
		bulk_work_once(&random);
		nanosleep(&step, NULL);
	}
}
