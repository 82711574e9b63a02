/* A program that knows nothing of libhak and lives with little; environment.py says under what.
 *
 *	limits_environment CASE
 *
 * It ends with 0 if all that it could allocate was as malloc(3) promises, however little that
 * was. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define HELD 1500

static void expect(int condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "not so: %s\n", what);
	_exit(1);
}

#define EXPECT(condition) expect(condition, #condition)

struct held {
	unsigned char *start;
	size_t size;
};

static size_t size_of(size_t i)
{
	static const size_t sizes[] = {10, 100, 1000, 10000, 100000, 700000, 3000000};

	return i % 50 < 7 ? sizes[i % 50] : sizes[i % 4];
}

/* Blocks of all kinds, kept, resized and freed; returns how many there was memory for. */
static size_t work(struct held *held)
{
	size_t got = 0;

	for (size_t i = 0; i < HELD; i++) {
		held[i].size = size_of(i);
		errno = 0;
		held[i].start = malloc(held[i].size);
		if (held[i].start == NULL) {
			EXPECT(errno == ENOMEM);
			continue;
		}
		got++;
		memset(held[i].start, (int)i, held[i].size);
	}
	for (size_t i = 0; i < HELD; i += 3) {
		unsigned char *moved = held[i].start == NULL
					       ? NULL
					       : realloc(held[i].start, held[i].size * 2);

		if (moved != NULL)
			held[i].start = moved;
	}
	for (size_t i = 0; i < HELD; i++) {
		if (held[i].start == NULL)
			continue;
		EXPECT(held[i].start[0] == (unsigned char)i);
		EXPECT(held[i].start[held[i].size - 1] == (unsigned char)i);
		free(held[i].start);
	}
	return got;
}

static void *work_in_thread(void *arg)
{
	work(arg);
	return NULL;
}

static size_t live(void)
{
	static struct held held[3][HELD];
	pthread_t threads[2];
	int made[2];
	size_t got;

	for (int i = 0; i < 2; i++)
		made[i] = pthread_create(&threads[i], NULL, work_in_thread, held[i]) == 0;
	got = work(held[2]);
	for (int i = 0; i < 2; i++)
		if (made[i])
			pthread_join(threads[i], NULL);
	return got;
}

static void lives(void)
{
	printf("%zu\n", live());
}

/* Mappings of other protection in turn cannot be joined: until the kernel allows no more. */
static void has_no_mappings(void)
{
	size_t count = 0;

	while (mmap(NULL, 4096, count % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0) != MAP_FAILED)
		count++;
	EXPECT(count > 1000);
	printf("%zu\n", live());
}

static void locks_first(void)
{
	EXPECT(mlockall(MCL_CURRENT | MCL_FUTURE) == 0);
	EXPECT(live() == HELD);
}

static void locks_later(void)
{
	EXPECT(live() == HELD);
	EXPECT(mlockall(MCL_CURRENT | MCL_FUTURE) == 0);
	EXPECT(live() == HELD);
	EXPECT(munlockall() == 0);
	EXPECT(live() == HELD);
}

static size_t resident(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	size_t pages, all;

	EXPECT(file != NULL && fscanf(file, "%zu %zu", &all, &pages) == 2);
	fclose(file);
	return pages * 4096;
}

/* Blocks of a small program. */
static void is_small(void)
{
	for (size_t i = 1; i < 200; i++)
		memset(malloc(i * 10), 1, i * 10);
	printf("%zu\n", resident());
}

static void find(void *library, const char *name, void *function)
{
	void *symbol = dlsym(library, name);

	EXPECT(symbol != NULL);
	memcpy(function, &symbol, sizeof symbol);
}

static void *(*hak_malloc)(size_t size);
static void (*hak_free)(void *block);

static void *work_with_twins(void *arg)
{
	static __thread struct held held[HELD];

	for (size_t i = 0; i < HELD; i++) {
		held[i].start = hak_malloc(size_of(i % 40));
		EXPECT(held[i].start != NULL);
		memset(held[i].start, (int)i, size_of(i % 40));
	}
	for (size_t i = 0; i < HELD; i++) {
		EXPECT(held[i].start[size_of(i % 40) - 1] == (unsigned char)i);
		hak_free(held[i].start);
	}
	return arg;
}

/* libhak beside the C library's malloc, loaded by hand and used by its own names. */
static void loads(int flags)
{
	void *library = dlopen(getenv("LIBRARY"), RTLD_NOW | flags);
	pthread_t threads[4];

	if (library == NULL)
		fprintf(stderr, "%s\n", dlerror());
	EXPECT(library != NULL);
	find(library, "hak_malloc", &hak_malloc);
	find(library, "hak_free", &hak_free);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 4; i++)
			EXPECT(pthread_create(&threads[i], NULL, work_with_twins, NULL) == 0);
		EXPECT(live() == HELD);
		for (int i = 0; i < 4; i++)
			EXPECT(pthread_join(threads[i], NULL) == 0);
		EXPECT(dlclose(library) == 0);
		library = dlopen(getenv("LIBRARY"), RTLD_NOW | flags);
		EXPECT(library != NULL);
	}
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		work_with_twins(NULL);
		_exit(0);
	}
	EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
}

static void loads_locally(void)
{
	loads(RTLD_LOCAL);
}

static void loads_globally(void)
{
	loads(RTLD_GLOBAL);
}

static void mixes_two_mallocs(void)
{
	void *library = dlopen(getenv("LIBRARY"), RTLD_NOW | RTLD_LOCAL);

	EXPECT(library != NULL);
	find(library, "hak_free", &hak_free);
	hak_free(malloc(100));
}

/* A library that takes static TLS leaves less than libhak needs, or just enough: either is loaded,
 * or refused with a reason; nothing else. */
static void loads_with_little_tls(void)
{
	void *eater = dlopen(getenv("EATER"), RTLD_NOW);
	void *library = dlopen(getenv("LIBRARY"), RTLD_NOW);

	EXPECT(eater != NULL);
	if (library == NULL) {
		EXPECT(strstr(dlerror(), "static TLS") != NULL);
		EXPECT(live() == HELD);
		puts("refused");
		return;
	}
	find(library, "hak_malloc", &hak_malloc);
	find(library, "hak_free", &hak_free);
	work_with_twins(NULL);
	puts("loaded");
}

/* Preloaded, libhak has its static TLS from the start and leaves the rest to others. */
static void loads_a_tls_eater(void)
{
	EXPECT(dlopen(getenv("EATER"), RTLD_NOW) != NULL);
	EXPECT(live() == HELD);
}

/* A library that allocates when it comes and frees when it goes, some thousand times. */
static void loads_and_unloads(void)
{
	size_t before = 0;

	for (int i = 0; i < 3000; i++) {
		void *library = dlopen(getenv("EATER"), RTLD_NOW);

		EXPECT(library != NULL && dlclose(library) == 0);
		if (i == 200)
			before = resident();
	}
	EXPECT(resident() < before + MIB);
}

static void *of_main;

static void free_at_exit(void)
{
	free(of_main);
	of_main = malloc(5000);
	free(of_main);
}

__attribute__((destructor)) static void free_at_the_end(void)
{
	free(malloc(70000));
	free(malloc(3000000));
}

static void frees_at_exit(void)
{
	of_main = malloc(100);
	EXPECT(atexit(free_at_exit) == 0);
}

int main(int count, char **arguments)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} cases[] = {
		{"lives", lives},
		{"has_no_mappings", has_no_mappings},
		{"locks_first", locks_first},
		{"locks_later", locks_later},
		{"is_small", is_small},
		{"loads_locally", loads_locally},
		{"loads_globally", loads_globally},
		{"mixes_two_mallocs", mixes_two_mallocs},
		{"loads_with_little_tls", loads_with_little_tls},
		{"loads_a_tls_eater", loads_a_tls_eater},
		{"loads_and_unloads", loads_and_unloads},
		{"frees_at_exit", frees_at_exit},
	};

	for (size_t i = 0; count == 2 && i < sizeof cases / sizeof *cases; i++) {
		if (strcmp(arguments[1], cases[i].name) == 0) {
			cases[i].run();
			return 0;
		}
	}
	return 3;
}
