#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

size_t hak_os_page_bytes(void)
{
	static HAK_EARLY _Atomic size_t known;
	size_t bytes = atomic_load_explicit(&known, memory_order_relaxed);

	if (hak_unlikely(bytes == 0)) {
		bytes = (size_t)getpagesize(); /* from the auxiliary vector, no system call */
		atomic_store_explicit(&known, bytes, memory_order_relaxed);
	}
	return bytes;
}

size_t hak_os_ram_bytes(void)
{
	static HAK_EARLY _Atomic size_t known;
	size_t bytes = atomic_load_explicit(&known, memory_order_relaxed);
	struct sysinfo info;
	int saved_errno = errno;

	if (bytes == 0 && syscall(SYS_sysinfo, &info) == 0) {
		bytes = (size_t)info.totalram * info.mem_unit;
		atomic_store_explicit(&known, bytes, memory_order_relaxed);
	}
	errno = saved_errno;
	return bytes;
}

/* By syscall(2): malloc is no cancellation point, and open(2), read(2) and close(2) are. One read:
 * what the kernel makes up comes whole. */
size_t hak_os_read_file(const char *path, char *text, size_t text_bytes)
{
	int saved_errno = errno;
	long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	long bytes = 0;

	if (fd >= 0) {
		bytes = syscall(SYS_read, fd, text, text_bytes - 1);
		syscall(SYS_close, fd);
	}
	text[bytes > 0 ? bytes : 0] = '\0';
	errno = saved_errno;
	return bytes > 0 ? (size_t)bytes : 0;
}

/* Pages mapped by this process, the first number of /proc/self/statm. Only asked for where a limit
 * is set; where /proc is not mounted nothing counts as used, and the mapping itself may then
 * fail. */
static size_t mapped_bytes(void)
{
	char text[32];
	size_t pages = 0;

	(void)hak_os_read_file("/proc/self/statm", text, sizeof text);
	for (const char *at = text; *at >= '0' && *at <= '9'; at++)
		pages = pages * 10 + (size_t)(*at - '0');
	return pages * hak_os_page_bytes();
}

uint64_t hak_os_limit(int resource)
{
	uint64_t limit[2] = {UINT64_MAX}; /* the kernel's struct rlimit64, the soft one first */
	int saved_errno = errno;

	(void)syscall(SYS_prlimit64, 0, resource, NULL, limit);
	errno = saved_errno;
	return limit[0];
}

size_t hak_os_address_space_bytes(void)
{
	uint64_t limit = hak_os_limit(RLIMIT_AS);
	size_t used;

	if (limit == UINT64_MAX)
		return SIZE_MAX;
	used = mapped_bytes();
	return limit > used ? (size_t)limit - used : 0;
}

/* The kernel rounds the end of a range up to a page, and what lies behind it would go with it. */
static bool is_whole_pages(const void *address, size_t bytes)
{
	return (((uintptr_t)address | bytes) & (hak_os_page_bytes() - 1)) == 0;
}

static void *reserve(size_t bytes)
{
	return mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

void *hak_os_reserve(size_t bytes, size_t alignment)
{
	int saved_errno = errno;
	size_t before = 0;
	char *start = reserve(bytes);

	/* Recent kernels align large mappings to a huge page, which is all we ask for: only where
	 * it did not come so is a larger one made and cut. */
	if (start != MAP_FAILED && ((uintptr_t)start & (alignment - 1)) != 0) {
		munmap(start, bytes);
		start = reserve(bytes + alignment);
		if (start != MAP_FAILED) {
			before = (size_t)(-(uintptr_t)start & (alignment - 1));
			if (before != 0)
				munmap(start, before);
			if (before != alignment)
				munmap(start + before + bytes, alignment - before);
		}
	}
	/* Where the system says `always`, the first block of a small program would take 2 MiB, and
	 * a page that is touched once more after it went back as well. Without huge pages in the
	 * kernel this fails, and so it should. */
	if (start != MAP_FAILED)
		(void)madvise(start + before, bytes, MADV_NOHUGEPAGE);
	errno = saved_errno;
	return start == MAP_FAILED ? NULL : start + before;
}

bool hak_os_open(void *address, size_t bytes)
{
	int saved_errno = errno;
	bool opened = mprotect(address, bytes, PROT_READ | PROT_WRITE) == 0;

	errno = saved_errno;
	return opened;
}

void hak_os_guard(void *address, size_t bytes)
{
	int saved_errno = errno;

	if (is_whole_pages(address, bytes))
		(void)mprotect(address, bytes, PROT_NONE);
	errno = saved_errno;
}

bool hak_os_unguard(void *address, size_t bytes)
{
	return !is_whole_pages(address, bytes) || hak_os_open(address, bytes);
}

void *hak_os_map(size_t bytes)
{
	int saved_errno = errno;
	void *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	errno = saved_errno;
	return start == MAP_FAILED ? NULL : start;
}

void hak_os_unmap(void *address, size_t bytes)
{
	int saved_errno = errno;

	/* It fails only where splitting a mapping would exceed max_map_count. The range then stays
	 * mapped and unused: give its memory back at least. */
	if (munmap(address, bytes) != 0)
		(void)madvise(address, bytes, MADV_DONTNEED);
	errno = saved_errno;
}

void *hak_os_remap(void *address, size_t old_bytes, size_t new_bytes)
{
	int saved_errno = errno;
	void *start = mremap(address, old_bytes, new_bytes, MREMAP_MAYMOVE);

	errno = saved_errno;
	return start == MAP_FAILED ? NULL : start;
}

bool hak_os_move(void *from, size_t bytes, void *to)
{
	int saved_errno = errno;
	void *moved = mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to);

	errno = saved_errno;
	return moved != MAP_FAILED;
}

HAK_EARLY struct hak_os_advice hak_os_advice;

static bool advise(void *address, size_t bytes, int advice)
{
	int saved_errno = errno;
	uint64_t start_ns = hak_os_now_ns();
	bool advised = is_whole_pages(address, bytes) && madvise(address, bytes, advice) == 0;

	atomic_fetch_add_explicit(&hak_os_advice.count, 1, memory_order_relaxed);
	if (!advised)
		atomic_fetch_add_explicit(&hak_os_advice.refused_count, 1, memory_order_relaxed);
	/* A tick of this clock falls into few calls, and counts for those that it did not fall
	 * into. An exact clock may be a system call, which a filter may kill for. */
	atomic_fetch_add_explicit(&hak_os_advice.ns, hak_os_now_ns() - start_ns,
				  memory_order_relaxed);
	errno = saved_errno;
	return advised;
}

bool hak_os_return(void *address, size_t bytes)
{
	return advise(address, bytes, MADV_DONTNEED);
}

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

/* By an advice that is as old as that, on nothing: what is not known is refused even so. */
bool hak_os_may_mark(void)
{
	static _Atomic int known; /* 1: yes, -1: no */
	int may = atomic_load_explicit(&known, memory_order_relaxed), saved_errno = errno;

	if (hak_unlikely(may == 0)) {
		may = madvise(NULL, 0, MADV_DONTNEED_LOCKED) == 0 ? 1 : -1;
		atomic_store_explicit(&known, may, memory_order_relaxed);
	}
	errno = saved_errno;
	return may > 0;
}

bool hak_os_mark_lazy(void *address, size_t bytes)
{
	return advise(address, bytes, MADV_FREE);
}

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

bool hak_os_populate(void *address, size_t bytes)
{
	int saved_errno = errno;
	bool is_there = madvise(address, bytes, MADV_POPULATE_WRITE) == 0 || errno == EINVAL;

	errno = saved_errno;
	return is_there;
}

bool hak_os_dump(void *address, size_t bytes, bool dumped)
{
	int saved_errno = errno;
	bool advised = madvise(address, bytes, dumped ? MADV_DODUMP : MADV_DONTDUMP) == 0;

	errno = saved_errno;
	return advised;
}

uint64_t hak_os_now_ns(void)
{
	struct timespec now;
	int saved_errno = errno;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	errno = saved_errno;
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static void futex_wait(_Atomic uint32_t *word, int operation, uint32_t expected,
		       uint64_t timeout_ns)
{
	struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / 1000000000ull),
				   .tv_nsec = (long)(timeout_ns % 1000000000ull)};
	int saved_errno = errno;

	syscall(SYS_futex, word, operation, expected, timeout_ns == 0 ? NULL : &timeout, NULL, 0);
	errno = saved_errno;
}

void hak_os_futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
	futex_wait(word, FUTEX_WAIT_PRIVATE, expected, timeout_ns);
}

void hak_os_futex_wait_shared(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
	futex_wait(word, FUTEX_WAIT, expected, timeout_ns);
}

void hak_os_yield(void)
{
	static _Atomic uint32_t nobody_wakes;

	hak_os_futex_wait(&nobody_wakes, 0, 1);
}

static void futex_wake(_Atomic uint32_t *word, int operation, int waiter_count)
{
	int saved_errno = errno;

	syscall(SYS_futex, word, operation, waiter_count, NULL, NULL, 0);
	errno = saved_errno;
}

void hak_os_futex_wake(_Atomic uint32_t *word, int waiter_count)
{
	futex_wake(word, FUTEX_WAKE_PRIVATE, waiter_count);
}

void hak_os_futex_wake_shared(_Atomic uint32_t *word)
{
	futex_wake(word, FUTEX_WAKE, INT32_MAX);
}

/* The fields of /proc/PID/stat behind the name, which may hold anything but is the last in
 * brackets: the state is the first of them, and this the number of threads. No string functions,
 * since each name that the library asks for is looked up at every program's start. */
#define THREADS_FIELD 17

static bool is_left_with(const char *text, size_t count, unsigned thread_count)
{
	size_t at = count;
	unsigned field = 0, number = 0;

	while (at != 0 && text[at - 1] != ')')
		at--;
	if (at == 0 || at + 2 >= count || text[at + 1] != 'Z')
		return false;
	for (at++; at < count && field < THREADS_FIELD; at++)
		field += text[at] == ' ';
	for (; at < count && text[at] >= '0' && text[at] <= '9'; at++)
		number = number * 10 + (unsigned)(text[at] - '0');
	return number == thread_count + 1;
}

bool hak_os_is_left_with(unsigned thread_count)
{
	char text[512];
	long fd = syscall(SYS_openat, AT_FDCWD, "/proc/self/stat", O_RDONLY | O_CLOEXEC, 0);
	long count = fd >= 0 ? syscall(SYS_read, fd, text, sizeof text) : -1;

	if (fd >= 0)
		syscall(SYS_close, fd);
	return count > 0 && is_left_with(text, (size_t)count, thread_count);
}
