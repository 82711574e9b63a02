/* server.c - threads that inherit what others have allocated.
 *
 * Goal     a server that lives long and whose threads do not: blocks are freed by the successor of
 *          the thread that took them, and threads end with caches full of them.
 * Method   CHAINS chains of threads run at once, each with SLOTS slots, all filled with blocks of
 *          16..1024 bytes. A thread picks a slot TURNS times, frees its block and puts another one
 *          there; then it starts its successor, which has the slots from now on, and ends. ROUNDS
 *          threads follow one another in each chain. After Larson and Krishnan, "Memory Allocation
 *          for Long-Running Server Applications" (ISMM 1998).
 */
#include "measure.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

#define CHAINS_MAX 256u

static uint64_t chain_count, round_count, slot_count, turn_count, seed;
static pthread_attr_t detached;
static sem_t chains_ended;

static struct chain {
	void **slots;
	uint64_t random;
	uint64_t rounds_left;
} chains[CHAINS_MAX];

static void *new_block(uint64_t *random)
{
	size_t size = measure_random_size((uint32_t)measure_random(random));
	void *block = measure_malloc(size);

	measure_touch_ends(block, size);
	return block;
}

static void *serve(void *chain_as_pointer)
{
	struct chain *chain = chain_as_pointer;
	pthread_t successor;

	for (uint64_t i = 0; i < turn_count; i++) {
		uint64_t bits = measure_random(&chain->random);
		void **slot = &chain->slots[measure_scale((uint32_t)bits, slot_count)];

		free(*slot);
		*slot = new_block(&chain->random);
	}
	if (--chain->rounds_left == 0)
		sem_post(&chains_ended);
	else if (pthread_create(&successor, &detached, serve, chain) != 0)
		measure_fail("pthread_create");
	return NULL;
}

static void fill(struct chain *chain, uint64_t number)
{
	chain->random = seed + number;
	chain->rounds_left = round_count;
	chain->slots = measure_map(slot_count * sizeof(void *));
	for (uint64_t i = 0; i < slot_count; i++)
		chain->slots[i] = new_block(&chain->random);
}

static double run_chains(void)
{
	double start_seconds;
	pthread_t first;

	for (uint64_t i = 0; i < chain_count; i++)
		fill(&chains[i], i);
	start_seconds = measure_now_seconds();
	for (uint64_t i = 0; i < chain_count; i++)
		if (pthread_create(&first, &detached, serve, &chains[i]) != 0)
			measure_fail("pthread_create");
	for (uint64_t i = 0; i < chain_count; i++)
		while (sem_wait(&chains_ended) != 0)
			continue;
	return measure_now_seconds() - start_seconds;
}

int main(int argc, char **argv)
{
	static const char usage[] = "usage: server CHAINS ROUNDS SLOTS TURNS SEED\n"
				    "\n"
				    "  CHAINS  chains of threads at once, 1 to 256\n"
				    "  ROUNDS  threads of each chain, one after the other\n"
				    "  SLOTS   blocks that a chain holds\n"
				    "  TURNS   blocks that each thread replaces\n"
				    "  SEED    chain number i draws from SEED + i\n";
	const struct measure_argument arguments[] = {
		{"CHAINS", 1, CHAINS_MAX, &chain_count},
		{"ROUNDS", 1, UINT32_MAX, &round_count},
		{"SLOTS", 1, UINT64_C(1) << 28, &slot_count},
		{"TURNS", 1, UINT32_MAX, &turn_count},
		{"SEED", 0, UINT32_MAX, &seed},
	};
	struct measure_result result = {.program = "server"};

	measure_arguments(argc, argv, 1, usage, arguments, 5);
	if (pthread_attr_init(&detached) != 0 ||
	    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED) != 0 ||
	    sem_init(&chains_ended, 0, 0) != 0)
		measure_fail("preparing threads");
	result.seconds = run_chains();
	result.operations = 2 * chain_count * round_count * turn_count;
	measure_print(&result, NULL);
	return EXIT_SUCCESS;
}
