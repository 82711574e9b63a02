/* The C++ operators, by their mangled names (Itanium C++ ABI), so that libhak needs no C++ library.
 *
 * new that finds no memory calls the program's new_handler until there is memory or none is left,
 * then throws std::bad_alloc (ISO C++ [new.delete.single]). Both live in libstdc++, which a program
 * that can catch them has loaded; the references are weak. Compiled with -fexceptions: the
 * exception passes through here. Deleting is freeing: class and size are known by the address.
 */
#include "base/config.h"
#include "base/report.h"

#include <hak/hak.h>

typedef void (*new_handler)(void);

/* std::get_new_handler() and std::__throw_bad_alloc() */
extern new_handler _ZSt15get_new_handlerv(void) __attribute__((weak));
extern void _ZSt17__throw_bad_allocv(void) __attribute__((weak, noreturn));

/* nothrow: a struct of no members, passed by reference. */
typedef const void *nothrow_t;

/* One more try after each call of the handler, until it throws or there is none. */
static HAK_NOINLINE void *new_slowly(size_t size, size_t alignment, bool throws)
{
	for (;;) {
		new_handler handler = _ZSt15get_new_handlerv != NULL ? _ZSt15get_new_handlerv()
								     : NULL;

		if (handler == NULL)
			break;
		handler();
		void *block = alignment == 0 ? hak_malloc(size) : hak_memalign(alignment, size);

		if (block != NULL)
			return block;
	}
	if (!throws)
		return NULL;
	if (_ZSt17__throw_bad_allocv != NULL)
		_ZSt17__throw_bad_allocv();
	hak_report_broken("operator new has no memory and no libstdc++ to say so");
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
