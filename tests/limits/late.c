/* Goal: libhak comes into a running program by dlopen(3), and serves whoever asks it by name:
 * hak_malloc() and its kin work in all threads, malloc stays the C library's, and what that one
 * gave out is told apart. Where static TLS has no room for it dlopen says so, and nothing else
 * happens.
 *
 * Method: one case each, of a program that nothing is preloaded into.
 *
 *	limits_late LIBRARY CASE [LIBRARY...]
 */
#include "work.h"

#include <dlfcn.h>
#include <errno.h>
#include <linux/capability.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *path;
static char **others; /* more libraries, to a NULL */

static void find(void *library, const char *name, void *function)
{
	void *symbol = dlsym(library, name);

	EXPECT(symbol != NULL);
	memcpy(function, &symbol, sizeof symbol);
}

/* NULL: there is no room for it. */
static void *load(int flags)
{
	void *library = dlopen(path, RTLD_NOW | flags);

	if (library == NULL)
		return NULL;
	find(library, "hak_malloc", &work_calls.malloc);
	find(library, "hak_calloc", &work_calls.calloc);
	find(library, "hak_realloc", &work_calls.realloc);
	find(library, "hak_posix_memalign", &work_calls.posix_memalign);
	find(library, "hak_free", &work_calls.free);
	return library;
}

static _Atomic bool is_loaded;

/* Older than the library: its TLS was made when there was no libhak. */
static void *wait_and_work(void *unused)
{
	while (!atomic_load(&is_loaded))
		work_sleep_ms(1);
	for (int i = 0; i < 3; i++)
		EXPECT(work() == 0);
	return unused;
}

static void expect_not_ours(void)
{
	uint64_t before = (uint64_t)mallinfo2().uordblks;
	void *volatile block = malloc(100000);

	EXPECT((uint64_t)mallinfo2().uordblks > before);
	free(block);
	EXPECT((uint64_t)mallinfo2().uordblks == before);
}

static void load_and_live(int flags)
{
	pthread_t threads[3];
	int status;

	for (int i = 0; i < 3; i++)
		EXPECT(pthread_create(&threads[i], NULL, wait_and_work, NULL) == 0);
	void *library = load(flags);

	EXPECT(library != NULL);
	void *kept = work_calls.malloc(1000);

	atomic_store(&is_loaded, true);
	EXPECT(work() == 0);
	for (int i = 0; i < 3; i++)
		EXPECT(pthread_join(threads[i], NULL) == 0);
	EXPECT(work_in_threads(3, 3) == 0);
	expect_not_ours();
	pid_t pid = fork();

	if (pid == 0)
		_exit(work() == 0 ? 0 : 1);
	EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
	if (flags == RTLD_LOCAL)
		work_sleep_ms(1100);
	for (int i = 0; i < 3; i++)
		EXPECT(work() == 0);
	/* It stays: threads would end by a destructor that is gone. */
	EXPECT(dlclose(library) == 0);
	EXPECT(work() == 0);
	EXPECT(load(flags) == library);
	work_calls.free(kept);
}

static void local(void)
{
	load_and_live(RTLD_LOCAL);
	EXPECT(dlsym(RTLD_DEFAULT, "hak_malloc") == NULL);
}

static void global(void)
{
	load_and_live(RTLD_GLOBAL);
	EXPECT(dlsym(RTLD_DEFAULT, "hak_malloc") != NULL);
}

/* C++ that comes after it finds its operators, and no others to mix them with. */
static void global_cxx(void)
{
	int (*check)(void);

	EXPECT(load(RTLD_GLOBAL) != NULL);
	void *plugin = dlopen(others[0], RTLD_NOW | RTLD_LOCAL);

	EXPECT(plugin != NULL);
	find(plugin, "plugin_check", &check);
	EXPECT(check() == 0);
}

/* All that is mapped from then on is locked, without the privilege to lock more than
 * RLIMIT_MEMLOCK: enough for the library itself, and for no heap until memory is not locked any
 * more. */
static void locked_a_little(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];
	struct rlimit limit;

	EXPECT(getrlimit(RLIMIT_MEMLOCK, &limit) == 0);
	if (limit.rlim_cur > 4 * MIB)
		limit.rlim_cur = 4 * MIB;
	EXPECT(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
	EXPECT(syscall(SYS_capget, &header, data) == 0);
	data[0].effective &= ~(1u << CAP_IPC_LOCK);
	EXPECT(syscall(SYS_capset, &header, data) == 0);
	EXPECT(mlockall(MCL_FUTURE) == 0);
	EXPECT(load(RTLD_LOCAL) != NULL);
	for (int i = 0; i < 3; i++)
		EXPECT(work() != 0);
	(void)work_in_threads(3, 2);
	EXPECT(work_calls.malloc(1) == NULL && errno == ENOMEM);
	EXPECT(munlockall() == 0);
	EXPECT(work() == 0);
}

/* A filter that comes after it; the heap becomes larger than 8 MiB and a second old. */
static void sandbox(void)
{
	EXPECT(load(RTLD_LOCAL) != NULL);
	if (others[0] != NULL)
		EXPECT(work() == 0);
	work_forbid_all_but_malloc();
	for (int i = 0; i < 3; i++)
		EXPECT(work() == 0);
	work_sleep_ms(1100);
	for (int i = 0; i < 3; i++)
		EXPECT(work() == 0);
	_exit(0);
}

/* Prints how much stays resident of forty huge blocks of 2 MiB that were freed. */
static void keeps(void)
{
	void *blocks[40];
	size_t before = work_resident_bytes();

	EXPECT(load(RTLD_LOCAL) != NULL);
	for (size_t i = 0; i < 40; i++)
		memset(blocks[i] = work_calls.malloc(2 * MIB), 1, 2 * MIB);
	EXPECT(work_resident_bytes() >= before + 79 * MIB);
	for (size_t i = 0; i < 40; i++)
		work_calls.free(blocks[i]);
	printf("%zu\n", work_resident_bytes() - before);
}

/* ---- the C library's blocks ---- */

static void free_small(void)
{
	EXPECT(load(RTLD_LOCAL) != NULL);
	work_calls.free(work_calls.malloc(10));
	work_calls.free(malloc(100));
}

static void free_mapped(void)
{
	EXPECT(load(RTLD_LOCAL) != NULL);
	work_calls.free(work_calls.malloc(4 * MIB));
	work_calls.free(malloc(4 * MIB));
}

static void resize(void)
{
	EXPECT(load(RTLD_LOCAL) != NULL);
	EXPECT(work() == 0);
	EXPECT(work_calls.realloc(malloc(100), 200) == NULL);
}

/* With HAK_MISUSE=report they are left alone, and are the C library's still. */
static void report(void)
{
	char *block = malloc(100);

	EXPECT(load(RTLD_LOCAL) != NULL);
	memset(block, 7, 100);
	work_calls.free(block);
	for (int i = 0; i < 100; i++)
		EXPECT(block[i] == 7);
	errno = 0;
	EXPECT(work_calls.realloc(block, 200) == NULL && errno == ENOMEM);
	free(block);
	EXPECT(work() == 0);
}

/* ---- static TLS ---- */

/* A child for each number of libraries that came before, from none to all of them. Each child uses
 * what it could load. Returns whether libhak found room. */
static bool load_behind(int count)
{
	int status;
	pid_t pid = fork();

	EXPECT(pid >= 0);
	if (pid == 0) {
		for (int i = 0; i < count; i++)
			if (dlopen(others[i], RTLD_NOW) == NULL)
				EXPECT(strstr(dlerror(), "static TLS") != NULL);
		if (load(RTLD_LOCAL) == NULL) {
			EXPECT(strstr(dlerror(), "static TLS") != NULL);
			EXPECT(load(RTLD_LOCAL) == NULL);
			expect_not_ours();
			EXPECT(work() == 0 && work_in_threads(3, 1) == 0);
			_exit(7);
		}
		EXPECT(work() == 0 && work_in_threads(3, 1) == 0);
		_exit(0);
	}
	EXPECT(waitpid(pid, &status, 0) == pid);
	EXPECT(status == 0 || status == 7 << 8);
	return status == 0;
}

static void static_tls(void)
{
	int count = 0, fitting = 0;

	while (others[count] != NULL)
		count++;
	for (int i = 0; i <= count; i++)
		fitting += load_behind(i);
	printf("room behind %d of 0 to %d libraries\n", fitting, count);
	EXPECT(fitting >= 3 && fitting <= count); /* 400 bytes of others and 1 KiB of ours fit */
}

int main(int count, char **arguments)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} cases[] = {
		{"local", local},	    {"global", global},
		{"global_cxx", global_cxx}, {"locked_a_little", locked_a_little},
		{"sandbox", sandbox},	    {"keeps", keeps},
		{"free_small", free_small}, {"free_mapped", free_mapped},
		{"resize", resize},	    {"report", report},
		{"static_tls", static_tls},
	};

	EXPECT(count >= 3 && !work_is_ours());
	path = arguments[1];
	others = arguments + 3;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (strcmp(arguments[2], cases[i].name) == 0) {
			cases[i].run();
			return 0;
		}
	return 2;
}
