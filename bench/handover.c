/* handover.c - blocks that one thread takes and another gives back.
 *
 * Goal     what it costs where no thread frees what it has allocated: a reader that parses requests
 *          for workers, workers that write into one logger.
 * Method   each of PRODUCERS threads allocates BLOCKS blocks of 16..1024 bytes, writes their ends
 *          and puts them, a hundred at a time, into one queue; CONSUMERS threads take them out and
 *          free them. The queue holds 64 such batches: who is faster waits.
 */
#include "measure.h"

#include <pthread.h>
#include <stdlib.h>

#define BATCH_BLOCKS 100u
#define QUEUE_BATCHES 64u

struct batch {
	void *blocks[BATCH_BLOCKS];
	unsigned count;
};

static uint64_t producer_count, consumer_count, block_count, seed;

/* A ring of batches. Consumers end when it is empty and no producer is left. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t may_put, may_take;
	struct batch batches[QUEUE_BATCHES];
	uint64_t put_count, taken_count;
	uint64_t producing_count;
} queue = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.may_put = PTHREAD_COND_INITIALIZER,
	.may_take = PTHREAD_COND_INITIALIZER,
};

static void put(const struct batch *batch)
{
	pthread_mutex_lock(&queue.lock);
	while (queue.put_count - queue.taken_count == QUEUE_BATCHES)
		pthread_cond_wait(&queue.may_put, &queue.lock);
	queue.batches[queue.put_count++ % QUEUE_BATCHES] = *batch;
	pthread_cond_signal(&queue.may_take);
	pthread_mutex_unlock(&queue.lock);
}

static void end_producing(void)
{
	pthread_mutex_lock(&queue.lock);
	queue.producing_count--;
	pthread_cond_broadcast(&queue.may_take);
	pthread_mutex_unlock(&queue.lock);
}

/* False: there will be none any more. */
static bool take(struct batch *batch)
{
	bool taken = false;

	pthread_mutex_lock(&queue.lock);
	while (queue.put_count == queue.taken_count && queue.producing_count != 0)
		pthread_cond_wait(&queue.may_take, &queue.lock);
	if (queue.put_count != queue.taken_count) {
		*batch = queue.batches[queue.taken_count++ % QUEUE_BATCHES];
		taken = true;
		pthread_cond_signal(&queue.may_put);
	}
	pthread_mutex_unlock(&queue.lock);
	return taken;
}

static void produce(uint64_t random)
{
	struct batch batch = {.count = 0};

	for (uint64_t i = 0; i < block_count; i++) {
		size_t size = measure_random_size((uint32_t)measure_random(&random));
		void *block = measure_malloc(size);

		measure_touch_ends(block, size);
		batch.blocks[batch.count++] = block;
		if (batch.count == BATCH_BLOCKS || i + 1 == block_count) {
			put(&batch);
			batch.count = 0;
		}
	}
	end_producing();
}

static void consume(void)
{
	struct batch batch;

	while (take(&batch))
		for (unsigned i = 0; i < batch.count; i++)
			free(batch.blocks[i]);
}

static void work(unsigned number)
{
	if (number < producer_count)
		produce(seed + number);
	else
		consume();
}

int main(int argc, char **argv)
{
	static const char usage[] = "usage: handover PRODUCERS CONSUMERS BLOCKS SEED\n"
				    "\n"
				    "  PRODUCERS  threads that allocate, 1 to 256\n"
				    "  CONSUMERS  threads that free, 1 to 256\n"
				    "  BLOCKS     blocks that each producer allocates\n"
				    "  SEED       producer number i draws from SEED + i\n";
	const struct measure_argument arguments[] = {
		{"PRODUCERS", 1, 256, &producer_count},
		{"CONSUMERS", 1, 256, &consumer_count},
		{"BLOCKS", 1, UINT32_MAX, &block_count},
		{"SEED", 0, UINT32_MAX, &seed},
	};
	struct measure_result result = {.program = "handover"};

	measure_arguments(argc, argv, 1, usage, arguments, 4);
	queue.producing_count = producer_count;
	result.operations = 2 * producer_count * block_count;
	result.seconds = measure_threads((unsigned)(producer_count + consumer_count), work);
	measure_print(&result, NULL);
	return EXIT_SUCCESS;
}
