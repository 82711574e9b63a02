/* The C++ operators, by their mangled names (Itanium C++ ABI), so that libhak needs no C++ library.
 *
 * A program may replace some operators and leave the rest to the library, which makes those of the
 * replaced ones (ISO C++ [new.delete]): new[] calls new, a nothrow form the throwing one, each
 * delete the plainer one. So all are weak, and the calls among them go by the process's table
 * (replaceable.list keeps the linker from binding them here). Deleting is freeing: class and size
 * are known by the address.
 *
 * new that finds no memory calls the program's new_handler until there is memory or none is left,
 * then throws std::bad_alloc. Both live in libstdc++, which may have been loaded with the program
 * or, into a C program, long after us. Compiled with -fexceptions: the exception passes through
 * here. It takes libstdc++ to catch one: a nothrow form that finds no memory goes on there.
 */
#include "base/config.h"
#include "base/report.h"
#include "calls/sized.h"

#include <dlfcn.h>
#include <hak/hak.h>
#include <stdatomic.h>
#include <string.h>

typedef void (*new_handler)(void);

/* std::get_new_handler() and std::__throw_bad_alloc(), where libstdc++ was there before us. */
extern new_handler _ZSt15get_new_handlerv(void) __attribute__((weak));
extern void _ZSt17__throw_bad_allocv(void) __attribute__((weak));

/* Weak, since a static program has no dlopen, and no library that could come later. */
#pragma weak dlopen
#pragma weak dlsym

/* Writes a function of a libstdc++ that was loaded since, or NULL. Outside the gate: the loader
 * takes its lock and may allocate. So it is asked once for each; the library, which who called new
 * is compiled against, stays from here on. */
static void find_later(_Atomic(void *) *known, const char *name, void *function, size_t bytes)
{
	void *symbol = atomic_load_explicit(known, memory_order_relaxed), *library;

	if (symbol == NULL && dlopen != NULL) {
		library = dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
		symbol = library != NULL ? dlsym(library, name) : NULL;
		atomic_store_explicit(known, symbol, memory_order_relaxed);
	}
	memcpy(function, &symbol, bytes);
}

static new_handler handler_now(void)
{
	static _Atomic(void *) known;
	new_handler (*get)(void) = _ZSt15get_new_handlerv;

	if (get == NULL)
		find_later(&known, "_ZSt15get_new_handlerv", &get, sizeof get);
	return get != NULL ? get() : NULL;
}

static _Noreturn void throw_bad_alloc(void)
{
	static _Atomic(void *) known;
	void (*throw_it)(void) = _ZSt17__throw_bad_allocv;

	if (throw_it == NULL)
		find_later(&known, "_ZSt17__throw_bad_allocv", &throw_it, sizeof throw_it);
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

static void *new_plain(size_t size)
{
	void *block = hak_malloc(size);

	return hak_likely(block != NULL) ? block : new_slowly(size, 0, true);
}

static void *new_aligned(size_t size, size_t alignment)
{
	void *block = hak_memalign(alignment, size);

	return hak_likely(block != NULL) ? block : new_slowly(size, alignment, true);
}

/* noplt: a call is one jump by the table. */
#define REPLACEABLE HAK_EXPORT __attribute__((weak, noplt))
#define NEW(name, ...)                                                                             \
	REPLACEABLE void *name(__VA_ARGS__);                                                       \
	void *name(__VA_ARGS__)
#define DELETE(name, ...)                                                                          \
	REPLACEABLE void name(void *block, ##__VA_ARGS__);                                         \
	void name(void *block, ##__VA_ARGS__)

/* operator new and new[]: (size) and (size, alignment). */
REPLACEABLE void *_Znwm(size_t size) __attribute__((alias("new_plain")));
REPLACEABLE void *_ZnwmSt11align_val_t(size_t size, size_t alignment)
	__attribute__((alias("new_aligned")));

static void *new_array(size_t size)
{
	return _Znwm(size);
}

static void *new_aligned_array(size_t size, size_t alignment)
{
	return _ZnwmSt11align_val_t(size, alignment);
}

REPLACEABLE void *_Znam(size_t size) __attribute__((alias("new_array")));
REPLACEABLE void *_ZnamSt11align_val_t(size_t size, size_t alignment)
	__attribute__((alias("new_aligned_array")));

/* operator new and new[] with nothrow. Where new is not ours, or has failed: libstdc++'s own form,
 * the throwing one in a try block. In a static program there is none to be found: what a handler
 * throws then ends the program, as it does in any function that promises not to throw. */
static HAK_NOINLINE void *new_nothrow(_Atomic(void *) *known, const char *name, size_t size,
				      nothrow_t tag)
{
	void *(*form)(size_t, nothrow_t);

	find_later(known, name, &form, sizeof form);
	if (form != NULL)
		return form(size, tag);
	return _Znwm == new_plain ? new_slowly(size, 0, false) : _Znwm(size);
}

static HAK_NOINLINE void *new_aligned_nothrow(_Atomic(void *) *known, const char *name, size_t size,
					      size_t alignment, nothrow_t tag)
{
	void *(*form)(size_t, size_t, nothrow_t);

	find_later(known, name, &form, sizeof form);
	if (form != NULL)
		return form(size, alignment, tag);
	if (_ZnwmSt11align_val_t == new_aligned)
		return new_slowly(size, alignment, false);
	return _ZnwmSt11align_val_t(size, alignment);
}

NEW(_ZnwmRKSt9nothrow_t, size_t size, nothrow_t tag)
{
	static _Atomic(void *) known;
	void *block = _Znwm == new_plain ? hak_malloc(size) : NULL;

	if (hak_likely(block != NULL))
		return block;
	return new_nothrow(&known, "_ZnwmRKSt9nothrow_t", size, tag);
}

NEW(_ZnamRKSt9nothrow_t, size_t size, nothrow_t tag)
{
	static _Atomic(void *) known;
	bool is_ours = _Znam == new_array && _Znwm == new_plain;
	void *block = is_ours ? hak_malloc(size) : NULL;

	if (hak_likely(block != NULL))
		return block;
	return new_nothrow(&known, "_ZnamRKSt9nothrow_t", size, tag);
}

NEW(_ZnwmSt11align_val_tRKSt9nothrow_t, size_t size, size_t alignment, nothrow_t tag)
{
	static _Atomic(void *) known;
	bool is_ours = _ZnwmSt11align_val_t == new_aligned;
	void *block = is_ours ? hak_memalign(alignment, size) : NULL;

	if (hak_likely(block != NULL))
		return block;
	return new_aligned_nothrow(&known, "_ZnwmSt11align_val_tRKSt9nothrow_t", size, alignment,
				   tag);
}

NEW(_ZnamSt11align_val_tRKSt9nothrow_t, size_t size, size_t alignment, nothrow_t tag)
{
	static _Atomic(void *) known;
	bool is_ours = _ZnamSt11align_val_t == new_aligned_array &&
		       _ZnwmSt11align_val_t == new_aligned;
	void *block = is_ours ? hak_memalign(alignment, size) : NULL;

	if (hak_likely(block != NULL))
		return block;
	return new_aligned_nothrow(&known, "_ZnamSt11align_val_tRKSt9nothrow_t", size, alignment,
				   tag);
}

static void delete_plain(void *block)
{
	hak_free(block);
}

static void delete_aligned(void *block, size_t alignment)
{
	(void)alignment;
	hak_free(block);
}

/* operator delete: plain and aligned. */
REPLACEABLE void _ZdlPv(void *block) __attribute__((alias("delete_plain")));
REPLACEABLE void _ZdlPvSt11align_val_t(void *block, size_t alignment)
	__attribute__((alias("delete_aligned")));

static void delete_array(void *block)
{
	_ZdlPv(block);
}

static void delete_aligned_array(void *block, size_t alignment)
{
	_ZdlPvSt11align_val_t(block, alignment);
}

REPLACEABLE void _ZdaPv(void *block) __attribute__((alias("delete_array")));
REPLACEABLE void _ZdaPvSt11align_val_t(void *block, size_t alignment)
	__attribute__((alias("delete_aligned_array")));

/* The others drop what else they were told and call the plainer form. */
#define UNUSED __attribute__((unused))
#define DELETE_BY(plainer, name, ...)                                                              \
	DELETE(name, ##__VA_ARGS__)                                                                \
	{                                                                                          \
		plainer;                                                                           \
	}

DELETE_BY(_ZdlPv(block), _ZdlPvRKSt9nothrow_t, nothrow_t tag UNUSED)
DELETE_BY(_ZdaPv(block), _ZdaPvRKSt9nothrow_t, nothrow_t tag UNUSED)

DELETE_BY(_ZdlPvSt11align_val_t(block, alignment), _ZdlPvSt11align_val_tRKSt9nothrow_t,
	  size_t alignment, nothrow_t tag UNUSED)
DELETE_BY(_ZdaPvSt11align_val_t(block, alignment), _ZdaPvSt11align_val_tRKSt9nothrow_t,
	  size_t alignment, nothrow_t tag UNUSED)

/* The sized forms compare what they are told with the block, where it came from our new and goes to
 * our delete: a program's own may allocate more, or elsewhere. */
DELETE(_ZdlPvm, size_t size)
{
	if (hak_likely(_ZdlPv == delete_plain && _Znwm == new_plain))
		hak_sized_free(block, size, "sized delete");
	else
		_ZdlPv(block);
}

DELETE(_ZdaPvm, size_t size)
{
	if (hak_likely(_ZdaPv == delete_array && _ZdlPv == delete_plain && _Znam == new_array &&
		       _Znwm == new_plain))
		hak_sized_free(block, size, "sized delete");
	else
		_ZdaPv(block);
}

DELETE(_ZdlPvmSt11align_val_t, size_t size, size_t alignment)
{
	if (hak_likely(_ZdlPvSt11align_val_t == delete_aligned &&
		       _ZnwmSt11align_val_t == new_aligned))
		hak_sized_free_aligned(block, alignment, size, "sized delete");
	else
		_ZdlPvSt11align_val_t(block, alignment);
}

DELETE(_ZdaPvmSt11align_val_t, size_t size, size_t alignment)
{
	if (hak_likely(_ZdaPvSt11align_val_t == delete_aligned_array &&
		       _ZdlPvSt11align_val_t == delete_aligned &&
		       _ZnamSt11align_val_t == new_aligned_array &&
		       _ZnwmSt11align_val_t == new_aligned))
		hak_sized_free_aligned(block, alignment, size, "sized delete");
	else
		_ZdaPvSt11align_val_t(block, alignment);
}
