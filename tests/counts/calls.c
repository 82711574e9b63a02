/* calls.c - one pattern of calls, as often as the caller says.
 *
 * Goal     the cost of each road through the allocator by itself, exactly: a pattern is chosen so
 *          that its calls take one road and no other.
 * Method   `calls PATTERN SIZE NUMBER ROUNDS` makes WARM_ROUNDS rounds of the pattern, which leave
 *          the heap as every later round finds it, and then ROUNDS more between the calls of
 *          counted_begin() and counted_end(), by which callgrind knows what to count.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARM_ROUNDS 20
#define BLOCKS_MAX 65536

static void *blocks[BLOCKS_MAX];
static unsigned short order[BLOCKS_MAX];
static size_t size, number;

static void fail(const char *what)
{
	fprintf(stderr, "calls: %s\n", what);
	exit(1);
}

/* Keeps the compiler from dropping a pair of calls whose block nobody looks at. */
static void *used(void *block)
{
	if (block == NULL)
		fail("no memory");
	__asm__ volatile("" : : "r"(block) : "memory");
	return block;
}

static void pair(void)
{
	free(used(malloc(size)));
}

static void zeroed(void)
{
	free(used(calloc(1, size)));
}

static void aligned(void)
{
	void *block = NULL;

	if (posix_memalign(&block, number, size) != 0)
		fail("posix_memalign");
	free(used(block));
}

/* Between SIZE and NUMBER bytes, and back. */
static void resize(void)
{
	blocks[0] = used(realloc(blocks[0], number));
	blocks[0] = used(realloc(blocks[0], size));
}

/* NUMBER blocks that live at once; they are freed in the order that was drawn. */
static void wave(void)
{
	for (size_t i = 0; i < number; i++)
		blocks[i] = used(malloc(size));
	for (size_t i = 0; i < number; i++)
		free(blocks[order[i]]);
}

/* The two threads of handed_wave() go on in turn, so that each run is like every other. */
static pthread_barrier_t handed, freed;

static void *free_what_is_handed(void *argument)
{
	for (;;) {
		pthread_barrier_wait(&handed);
		for (size_t i = 0; i < number; i++)
			free(blocks[i]);
		pthread_barrier_wait(&freed);
	}
	return argument;
}

static void start_freeing(void)
{
	pthread_t other;

	if (pthread_barrier_init(&handed, NULL, 2) != 0 ||
	    pthread_barrier_init(&freed, NULL, 2) != 0 ||
	    pthread_create(&other, NULL, free_what_is_handed, NULL) != 0)
		fail("a thread");
}

/* NUMBER blocks that another thread frees. */
static void handed_wave(void)
{
	for (size_t i = 0; i < number; i++)
		blocks[i] = used(malloc(size));
	pthread_barrier_wait(&handed);
	pthread_barrier_wait(&freed);
}

static void *live(void *argument)
{
	void *own[16];

	for (size_t i = 0; i < number; i++)
		own[i] = used(malloc(size));
	for (size_t i = 0; i < number; i++)
		free(own[i]);
	return argument;
}

/* A thread that has NUMBER blocks, and ends. */
static void thread(void)
{
	pthread_t made;

	if (pthread_create(&made, NULL, live, NULL) != 0 || pthread_join(made, NULL) != 0)
		fail("a thread");
}

static const struct pattern {
	const char *name;
	void (*round)(void);
	size_t number_max;
} patterns[] = {
	{"pair", pair, BLOCKS_MAX},
	{"zeroed", zeroed, BLOCKS_MAX},
	{"aligned", aligned, BLOCKS_MAX},
	{"resize", resize, (size_t)1 << 40},
	{"wave", wave, BLOCKS_MAX},
	{"shuffled_wave", wave, BLOCKS_MAX},
	{"handed_wave", handed_wave, BLOCKS_MAX},
	{"thread", thread, 16},
};

static const struct pattern *find_pattern(const char *name)
{
	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
		if (strcmp(patterns[i].name, name) == 0)
			return &patterns[i];
	return NULL;
}

static void draw_order(int is_shuffled)
{
	unsigned long long random = 42;

	for (size_t i = 0; i < number; i++) {
		size_t j = i;

		/* Knuth's MMIX generator; its upper bits are the good ones. */
		random = random * 6364136223846793005u + 1442695040888963407u;
		if (is_shuffled)
			j = (size_t)((random >> 32) * (i + 1) >> 32);
		order[i] = order[j];
		order[j] = (unsigned short)i;
	}
}

/* callgrind counts from here, and writes down what it has counted there. */
__attribute__((noinline)) void counted_begin(void);
__attribute__((noinline)) void counted_end(void);

void counted_begin(void)
{
	__asm__ volatile("" : : : "memory");
}

void counted_end(void)
{
	__asm__ volatile("" : : : "memory");
}

int main(int argc, char **argv)
{
	const struct pattern *pattern = argc == 5 ? find_pattern(argv[1]) : NULL;

	if (pattern == NULL) {
		fputs("usage: calls PATTERN SIZE NUMBER ROUNDS\n", stderr);
		return 2;
	}
	size = strtoul(argv[2], NULL, 10);
	number = strtoul(argv[3], NULL, 10);
	unsigned long rounds = strtoul(argv[4], NULL, 10);

	if (number > pattern->number_max)
		fail("NUMBER is too large");
	if (pattern->round == wave)
		draw_order(strcmp(argv[1], "shuffled_wave") == 0);
	if (pattern->round == handed_wave)
		start_freeing();
	for (unsigned i = 0; i < WARM_ROUNDS; i++)
		pattern->round();
	counted_begin();
	for (unsigned long i = 0; i < rounds; i++)
		pattern->round();
	counted_end();
	return 0;
}
