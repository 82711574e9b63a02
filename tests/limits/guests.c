/* Goal: libraries come and go, and threads with them, and what they took is not lost; what is freed
 * at the very end of a program finds the heap still there.
 *
 * Method: one case each, with libhak preloaded.
 *
 *	limits_guests CASE [LIBRARY...]
 */
#include "work.h"

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char **libraries; /* to a NULL */

static void *load(const char *path, const char *name, void *function)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	void *symbol;

	EXPECT(library != NULL);
	symbol = dlsym(library, name);
	EXPECT(symbol != NULL);
	memcpy(function, &symbol, sizeof symbol);
	return library;
}

/* ---- libraries that come and go ---- */

#define LOADS 3000

static void *use_plugin(void *take)
{
	void *(*function)(size_t);

	memcpy(&function, &take, sizeof function);
	free(function(3000));
	free(function(0));
	return NULL;
}

static void plugins(void)
{
	size_t early_live = 0, early_resident = 0;
	pthread_t thread;
	void *take;

	for (int i = 0; i < LOADS; i++) {
		void *library = load(libraries[0], "plugin_take", &take);

		use_plugin(take);
		if (i % 10 == 0) {
			EXPECT(pthread_create(&thread, NULL, use_plugin, take) == 0);
			EXPECT(pthread_join(thread, NULL) == 0);
		}
		EXPECT(dlclose(library) == 0);
		EXPECT(dlopen(libraries[0], RTLD_NOW | RTLD_NOLOAD) == NULL); /* it is gone */
		if (i == LOADS / 10) {
			early_live = mallinfo2().uordblks;
			early_resident = work_resident_bytes();
		}
	}
	EXPECT(mallinfo2().uordblks <= early_live);
	EXPECT(work_resident_bytes() <= early_resident + MIB / 2);
}

/* ---- thread-local storage ---- */

static unsigned char *(*storages[10])(void);

static void *touch_storages(void *unused)
{
	for (size_t i = 0; storages[i] != NULL; i++)
		memset(storages[i](), 1, 64);
	EXPECT(work() == 0);
	return unused;
}

/* Those that take 200 bytes each of static TLS until there is none, and a large one that is
 * allocated when a thread first looks at it. libhak was there before, and has nothing of the 1,664
 * bytes that the C library keeps for those that come later. */
static void tls(void)
{
	pthread_t threads[8];
	size_t count = 0, refused = 0;

	for (size_t i = 0; libraries[i] != NULL; i++) {
		if (dlopen(libraries[i], RTLD_NOW) == NULL) {
			EXPECT(strstr(dlerror(), "static TLS") != NULL);
			refused++;
		} else {
			load(libraries[i], "tls_storage", &storages[count++]);
		}
	}
	EXPECT(count >= 7 + 1 && refused >= 1);
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 8; i++)
			EXPECT(pthread_create(&threads[i], NULL, touch_storages, NULL) == 0);
		for (int i = 0; i < 8; i++)
			EXPECT(pthread_join(threads[i], NULL) == 0);
	}
	touch_storages(NULL);
}

/* ---- the end ---- */

static void *at_exit[3];
static pthread_key_t key;

static void free_and_work(size_t i)
{
	EXPECT(strcmp(at_exit[i], "still here") == 0);
	free(at_exit[i]);
	EXPECT(work() == 0);
}

static void free_in_atexit(void)
{
	free_and_work(0);
}

static void free_at_thread_end(void *unused)
{
	(void)unused;
	free_and_work(1);
}

/* The last of this program's own. */
__attribute__((destructor(101))) static void free_in_destructor(void)
{
	if (at_exit[2] != NULL)
		free_and_work(2);
}

/* Our key is the younger one: what it is for comes when libhak's own destructor has run. */
static void *end_as_thread(void *unused)
{
	EXPECT(work() == 0);
	EXPECT(pthread_setspecific(key, at_exit) == 0);
	return unused;
}

/* A library stays loaded, so that its destructor is one of the last. */
static void exits(void)
{
	pthread_t thread;
	void *take;

	for (size_t i = 0; i < 3; i++)
		at_exit[i] = strdup("still here");
	EXPECT(atexit(free_in_atexit) == 0);
	EXPECT(pthread_key_create(&key, free_at_thread_end) == 0);
	EXPECT(pthread_create(&thread, NULL, end_as_thread, NULL) == 0);
	EXPECT(pthread_join(thread, NULL) == 0);
	load(libraries[0], "plugin_take", &take);
}

int main(int count, char **arguments)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} cases[] = {
		{"plugins", plugins},
		{"tls", tls},
		{"exits", exits},
	};

	EXPECT(count >= 2 && work_is_ours());
	libraries = arguments + 2;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (strcmp(arguments[1], cases[i].name) == 0) {
			cases[i].run();
			return 0;
		}
	return 2;
}
