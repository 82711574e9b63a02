#include "base/forward.h"

#include "base/report.h"

#include <dlfcn.h>
#include <string.h>

/* Weak, since a static program has no dlsym. */
#pragma weak dlsym

/* What a sanitizer's run-time library has that replaces malloc (sanitizer/allocator_interface.h).
 * One name for all of them: each costs every process a search through all of its libraries. */
extern size_t __sanitizer_get_allocated_size(const volatile void *block) __attribute__((weak));

HAK_EARLY struct hak_forward hak_forward;

/* By memcpy, since ISO C converts no object pointer to a function's. */
static bool find(const char *name, void *function, size_t bytes)
{
	void *symbol = dlsym(RTLD_NEXT, name);

	memcpy(function, &symbol, bytes);
	return symbol != NULL;
}

#define FIND(name) find(#name, &hak_forward.name, sizeof hak_forward.name)

static bool find_all(void)
{
	return dlsym != NULL && FIND(malloc) && FIND(free) && FIND(realloc) && FIND(memalign) &&
	       FIND(malloc_usable_size) && FIND(malloc_trim) && FIND(mallopt) &&
	       FIND(malloc_info) && FIND(malloc_stats) && FIND(mallinfo2);
}

void hak_forward_start(void)
{
	struct hak_line line = {.used = 0};

	hak_forward.is_on = find_all();
	if (hak_forward.is_on)
		return;
	hak_line_put(&line, "hak: there is no other malloc in this process; libhak serves on");
	hak_line_write(&line);
}

/* Tests are built with sanitizers and without the names: there libhak replaces no malloc. */
const char *hak_forward_sanitizer(void)
{
	static const struct {
		const char *symbol;
		const char *name;
	} sanitizers[] = {
		{"__asan_init", "AddressSanitizer"}, {"__hwasan_init", "HWAddressSanitizer"},
		{"__lsan_init", "LeakSanitizer"},    {"__msan_init", "MemorySanitizer"},
		{"__tsan_init", "ThreadSanitizer"},
	};

	if (!HAK_OVERRIDE || __sanitizer_get_allocated_size == NULL)
		return NULL;
	for (size_t i = 0; dlsym != NULL && i < sizeof sanitizers / sizeof *sanitizers; i++)
		if (dlsym(RTLD_DEFAULT, sanitizers[i].symbol) != NULL)
			return sanitizers[i].name;
	return "a sanitizer";
}

/* valgrind knows a request by a sequence of instructions that does nothing elsewhere: rotations of
 * a register by 128 bits in all, then an exchange of a register with itself. Request 0x1001 asks
 * how many valgrinds there are (the manual's "Client Request mechanism"; valgrind.h). */
#if defined(__x86_64__)
bool hak_forward_on_valgrind(void)
{
	volatile uint64_t request[6] = {0x1001, 0, 0, 0, 0, 0};
	uint64_t depth = 0;

	__asm__ volatile("rolq $3, %%rdi; rolq $13, %%rdi; rolq $61, %%rdi; rolq $51, %%rdi\n\t"
			 "xchgq %%rbx, %%rbx"
			 : "+d"(depth)
			 : "a"(&request[0])
			 : "cc", "memory");
	return depth != 0;
}
#else
bool hak_forward_on_valgrind(void)
{
	return false;
}
#endif
