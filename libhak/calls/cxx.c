/* The C++ operators, by their mangled names (Itanium C++ ABI), so that libhak needs no C++ library.
 *
 * new that finds no memory calls the program's new_handler until there is memory or none is left,
 * then throws std::bad_alloc (ISO C++ [new.delete.single]). Both live in libstdc++, which may have
 * been loaded with the program or, into a C program, long after us. Compiled with -fexceptions: the
 * exception passes through here. Deleting is freeing: class and size are known by the address.
 */
#include "base/config.h"
#include "base/report.h"

#include <dlfcn.h>
#include <hak/hak.h>
#include <string.h>

typedef void (*new_handler)(void);

/* std::get_new_handler() and std::__throw_bad_alloc(), where libstdc++ was there before us. */
extern new_handler _ZSt15get_new_handlerv(void) __attribute__((weak));
extern void _ZSt17__throw_bad_allocv(void) __attribute__((weak));

/* Weak, since a static program has no dlopen, and no library that could come later. */
#pragma weak dlopen
#pragma weak dlsym
#pragma weak dlclose

/* Writes a function of a libstdc++ that was loaded since, or NULL. Only after an allocation has
 * failed, and outside the gate: the loader takes its lock and may allocate. */
static void find_later(const char *name, void *function, size_t bytes)
{
	void *library = dlopen != NULL ? dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD) : NULL;
	void *symbol = NULL;

	if (library != NULL) {
		symbol = dlsym(library, name);
		/* Who called new is compiled against it and keeps it here. */
		dlclose(library);
	}
	memcpy(function, &symbol, bytes);
}

static new_handler handler_now(void)
{
	new_handler (*get)(void) = _ZSt15get_new_handlerv;

	if (get == NULL)
		find_later("_ZSt15get_new_handlerv", &get, sizeof get);
	return get != NULL ? get() : NULL;
}

static _Noreturn void throw_bad_alloc(void)
{
	void (*throw_it)(void) = _ZSt17__throw_bad_allocv;

	if (throw_it == NULL)
		find_later("_ZSt17__throw_bad_allocv", &throw_it, sizeof throw_it);
	if (throw_it != NULL)
		throw_it();
	hak_report_broken("operator new has no memory and no libstdc++ to say so");
}

/* nothrow: a struct of no members, passed by reference. */
typedef const void *nothrow_t;

/* One more try after each call of the handler, until it throws or there is none. */
static HAK_NOINLINE void *new_slowly(size_t size, size_t alignment, bool throws)
{
	new_handler handler;

	while ((handler = handler_now()) != NULL) {
		handler();
		void *block = alignment == 0 ? hak_malloc(size) : hak_memalign(alignment, size);

		if (block != NULL)
			return block;
	}
	if (throws)
		throw_bad_alloc();
	return NULL;
}

static inline void *new_plain(size_t size, bool throws)
{
	void *block = hak_malloc(size);

	return hak_likely(block != NULL) ? block : new_slowly(size, 0, throws);
}

static inline void *new_aligned(size_t size, size_t alignment, bool throws)
{
	void *block = hak_memalign(alignment, size);

	return hak_likely(block != NULL) ? block : new_slowly(size, alignment, throws);
}

#define NEW(name, ...)                                                                             \
	HAK_EXPORT void *name(__VA_ARGS__);                                                        \
	HAK_EXPORT void *name(__VA_ARGS__)
#define DELETE(name, ...)                                                                          \
	HAK_EXPORT void name(void *block, ##__VA_ARGS__);                                          \
	HAK_EXPORT void name(void *block, ##__VA_ARGS__)                                           \
	{                                                                                          \
		hak_free(block);                                                                   \
	}

/* operator new and new[]: (size), (size, nothrow), (size, align), (size, align, nothrow) */
NEW(_Znwm, size_t size)
{
	return new_plain(size, true);
}

NEW(_Znam, size_t size)
{
	return new_plain(size, true);
}

NEW(_ZnwmRKSt9nothrow_t, size_t size, nothrow_t tag)
{
	(void)tag;
	return new_plain(size, false);
}

NEW(_ZnamRKSt9nothrow_t, size_t size, nothrow_t tag)
{
	(void)tag;
	return new_plain(size, false);
}

NEW(_ZnwmSt11align_val_t, size_t size, size_t alignment)
{
	return new_aligned(size, alignment, true);
}

NEW(_ZnamSt11align_val_t, size_t size, size_t alignment)
{
	return new_aligned(size, alignment, true);
}

NEW(_ZnwmSt11align_val_tRKSt9nothrow_t, size_t size, size_t alignment, nothrow_t tag)
{
	(void)tag;
	return new_aligned(size, alignment, false);
}

NEW(_ZnamSt11align_val_tRKSt9nothrow_t, size_t size, size_t alignment, nothrow_t tag)
{
	(void)tag;
	return new_aligned(size, alignment, false);
}

/* operator delete and delete[]: plain, sized, aligned, sized and aligned, nothrow */
DELETE(_ZdlPv)
DELETE(_ZdaPv)
DELETE(_ZdlPvm, size_t size __attribute__((unused)))
DELETE(_ZdaPvm, size_t size __attribute__((unused)))
DELETE(_ZdlPvSt11align_val_t, size_t alignment __attribute__((unused)))
DELETE(_ZdaPvSt11align_val_t, size_t alignment __attribute__((unused)))
DELETE(_ZdlPvmSt11align_val_t, size_t size __attribute__((unused)),
       size_t alignment __attribute__((unused)))
DELETE(_ZdaPvmSt11align_val_t, size_t size __attribute__((unused)),
       size_t alignment __attribute__((unused)))
DELETE(_ZdlPvRKSt9nothrow_t, nothrow_t tag __attribute__((unused)))
DELETE(_ZdaPvRKSt9nothrow_t, nothrow_t tag __attribute__((unused)))
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, size_t alignment __attribute__((unused)),
       nothrow_t tag __attribute__((unused)))
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, size_t alignment __attribute__((unused)),
       nothrow_t tag __attribute__((unused)))
