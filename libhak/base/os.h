/* os.h - the only file that speaks to the kernel about memory and time.
 *
 * Every call keeps errno. Failure is NULL or false, never an abort: what a failed call means is
 * the caller's to decide. Lengths and addresses are whole pages unless said otherwise.
 * Source: mmap(2), mprotect(2), madvise(2), mremap(2), futex(2), getrlimit(2), sysinfo(2).
 */
#ifndef HAK_BASE_OS_H
#define HAK_BASE_OS_H

#include "base/config.h"

#include <stdatomic.h>

/* Bytes of a page, read once at run time (4 KiB to 64 KiB on the kernels we know). */
size_t hak_os_page_bytes(void);

/* Bytes of memory that the machine has. A system call the first time, which the constructor makes:
 * later a filter may kill for it. */
size_t hak_os_ram_bytes(void);

/* The soft limit of a resource, RLIMIT_...; UINT64_MAX: none. */
uint64_t hak_os_limit(int resource);

/* Bytes of address space that this process may still map; SIZE_MAX without RLIMIT_AS. */
size_t hak_os_address_space_bytes(void);

/* Address space alone, no access and no memory, aligned to `alignment` (a power of two), and never
 * made huge pages of. */
void *hak_os_reserve(size_t bytes, size_t alignment);

/* Makes a part of a reservation readable and writable. False: no memory (ENOMEM). */
bool hak_os_open(void *address, size_t bytes);

/* Takes access away from a part of a reservation, as a guard, and gives it back. Best effort: the
 * kernel may have no room for one more mapping, and where its pages are larger than the guard there
 * is none. False: access cannot be given back now. */
void hak_os_guard(void *address, size_t bytes);
bool hak_os_unguard(void *address, size_t bytes);

/* Fresh, zeroed memory. */
void *hak_os_map(size_t bytes);
void hak_os_unmap(void *address, size_t bytes);

/* mremap(2), which may move the mapping. NULL: it stays as it was. */
void *hak_os_remap(void *address, size_t old_bytes, size_t new_bytes);

/* Moves a piece of one mapping to `to`, where whatever lies there is unmapped first. False: it
 * stays as it was, and at `to` there may be nothing any more. */
bool hak_os_move(void *from, size_t bytes, void *to);

/* MADV_DONTNEED: the memory goes back, the next touch sees zeroes. False where it is locked, or is
 * not made of whole pages: nothing happens then. */
bool hak_os_return(void *address, size_t bytes);

/* MADV_FREE: the kernel may take the memory when it needs some, until it is written to; what it
 * holds is then zeroes or what it was. False as above, and before Linux 4.5. */
bool hak_os_mark_lazy(void *address, size_t bytes);

/* Whether such marks are safe: before Linux 5.18 (commit 6c8e2a256915; some older ones have it as
 * well, which cannot be told) a read(2) by O_DIRECT into a marked page could be lost. */
bool hak_os_may_mark(void);

/* Calls of the two, those that were refused, and nanoseconds in them; by all threads. */
struct hak_os_advice {
	_Atomic uint64_t count;
	_Atomic uint64_t refused_count;
	_Atomic uint64_t ns;
};

extern HAK_HIDDEN struct hak_os_advice hak_os_advice;

/* The beginning of a small file, such as those of /proc, as a string of text_bytes at most with its
 * NUL. Returns its length, 0 where there is nothing to read. */
size_t hak_os_read_file(const char *path, char *text, size_t text_bytes);

/* Sees that shared memory is there for these whole pages: where the system has none left, touching
 * them would raise SIGBUS. False: it has none. True from kernels before 5.14, which cannot tell. */
bool hak_os_populate(void *address, size_t bytes);

/* Whether core dumps have this memory; all do from their mapping on. A property of mappings: where
 * neighbours differ in it there are more of them. False: the kernel refused. */
bool hak_os_dump(void *address, size_t bytes, bool dumped);

/* A clock that costs no system call and is true to some milliseconds. */
uint64_t hak_os_now_ns(void);

/* Sleeps while *word == expected, until woken or timeout_ns has passed (0: no limit). May return
 * early: the caller checks again. */
void hak_os_futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns);
void hak_os_futex_wake(_Atomic uint32_t *word, int waiter_count);

/* The same on a word that another process may wake, or wait on. */
void hak_os_futex_wait_shared(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns);
void hak_os_futex_wake_shared(_Atomic uint32_t *word);

/* Lets another thread run: a short sleep on a futex, since sched_yield(2) is no call that every
 * seccomp filter knows of an allocator. */
void hak_os_yield(void);

/* Whether the first thread has ended while the process goes on, and there are so many others. By
 * /proc/self/stat, see proc(5). */
bool hak_os_is_left_with(unsigned thread_count);

/* A moment for the other hardware thread while spinning. */
#if defined(__x86_64__)
#define HAK_OS_RELAX "pause"
#elif defined(__aarch64__)
#define HAK_OS_RELAX "isb"
#else
#define HAK_OS_RELAX ""
#endif

HAK_INLINE void hak_os_relax(void)
{
	__asm__ __volatile__(HAK_OS_RELAX ::: "memory");
}

#endif
