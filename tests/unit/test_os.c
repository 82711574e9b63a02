/* Goal: what the kernel gives is as os.h says: aligned, readable when opened, zeroed when fresh or
 * returned, kept by a move; and no call changes errno, whether it fails or not, since free may not.
 * Method: each call once where it works and once where the kernel refuses, errno looked at after
 * every one. */
#include "unit.h"

#include "base/os.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#define MIB ((size_t)1 << 20)

/* More than any address space has room for, and whole pages. */
#define TOO_MANY_BYTES ((size_t)1 << 60)

/* No call of the kernel's fails with it. */
#define OUR_ERRNO 7777

#define ASSERT_ERRNO_IS_KEPT() assert_int_equal(errno, OUR_ERRNO)

static int start(void **state)
{
	(void)state;
	errno = OUR_ERRNO;
	return 0;
}

static void reservations_open_where_they_are(void **state)
{
	(void)state;
	for (size_t alignment = MIB; alignment <= 64 * MIB; alignment *= 4) {
		char *start_of_it = hak_os_reserve(3 * MIB, alignment);

		ASSERT_ERRNO_IS_KEPT();
		assert_non_null(start_of_it);
		assert_int_equal((uintptr_t)start_of_it % alignment, 0);
		assert_true(hak_os_open(start_of_it + MIB, MIB));
		ASSERT_ERRNO_IS_KEPT();
		assert_int_equal(start_of_it[MIB], 0);
		start_of_it[2 * MIB - 1] = 1;
		hak_os_unmap(start_of_it, 3 * MIB);
		ASSERT_ERRNO_IS_KEPT();
		/* What is not mapped cannot be opened. */
		assert_false(hak_os_open(start_of_it, MIB));
		ASSERT_ERRNO_IS_KEPT();
	}
	assert_null(hak_os_reserve(TOO_MANY_BYTES, MIB));
	ASSERT_ERRNO_IS_KEPT();
}

static void mappings_move_with_their_bytes(void **state)
{
	char *mapping = hak_os_map(MIB);

	(void)state;
	ASSERT_ERRNO_IS_KEPT();
	assert_non_null(mapping);
	assert_int_equal(mapping[MIB - 1], 0);
	memset(mapping, 5, MIB);
	assert_null(hak_os_remap(mapping, MIB, TOO_MANY_BYTES));
	ASSERT_ERRNO_IS_KEPT();
	assert_int_equal(mapping[0], 5);
	mapping = hak_os_remap(mapping, MIB, 64 * MIB);
	ASSERT_ERRNO_IS_KEPT();
	assert_non_null(mapping);
	assert_int_equal(mapping[MIB - 1], 5);
	assert_int_equal(mapping[64 * MIB - 1], 0);
	/* No bytes at all are refused by munmap(2). */
	hak_os_unmap(mapping, 0);
	ASSERT_ERRNO_IS_KEPT();
	assert_int_equal(mapping[0], 5);
	hak_os_unmap(mapping, 64 * MIB);
	ASSERT_ERRNO_IS_KEPT();
	assert_null(hak_os_map(TOO_MANY_BYTES));
	ASSERT_ERRNO_IS_KEPT();
}

static void returned_memory_reads_as_zero(void **state)
{
	char *mapping = hak_os_map(MIB);

	(void)state;
	assert_non_null(mapping);
	memset(mapping, 5, MIB);
	assert_true(hak_os_return(mapping, MIB / 2));
	ASSERT_ERRNO_IS_KEPT();
	assert_int_equal(mapping[0], 0);
	assert_int_equal(mapping[MIB / 2 - 1], 0);
	assert_int_equal(mapping[MIB / 2], 5);
	hak_os_unmap(mapping, MIB);
	assert_false(hak_os_return(mapping, MIB));
	ASSERT_ERRNO_IS_KEPT();
}

static void sleepers_wake(void **state)
{
	_Atomic uint32_t word = 1;
	/* The kernel's half of the addresses: it refuses to look there. */
	_Atomic uint32_t *nowhere = (_Atomic uint32_t *)(UINTPTR_MAX - 15);

	(void)state;
	hak_os_futex_wait(&word, 0, 0); /* not what is there: returns at once */
	ASSERT_ERRNO_IS_KEPT();
	hak_os_futex_wait(&word, 1, 1000000); /* nobody comes: by its time limit */
	ASSERT_ERRNO_IS_KEPT();
	hak_os_futex_wait(nowhere, 1, 0);
	ASSERT_ERRNO_IS_KEPT();
	hak_os_futex_wake(&word, INT32_MAX);
	ASSERT_ERRNO_IS_KEPT();
	hak_os_futex_wake(nowhere, 1);
	ASSERT_ERRNO_IS_KEPT();
	hak_os_yield();
	ASSERT_ERRNO_IS_KEPT();
}

static void the_machine_is_described(void **state)
{
	uint64_t before_ns = hak_os_now_ns();

	(void)state;
	ASSERT_ERRNO_IS_KEPT();
	assert_true(before_ns > 0);
	assert_true(hak_os_now_ns() >= before_ns);
	assert_true(hak_os_page_bytes() >= 4096);
	assert_int_equal(hak_os_page_bytes() & (hak_os_page_bytes() - 1), 0);
	assert_true(hak_os_ram_bytes() >= MIB);
	ASSERT_ERRNO_IS_KEPT();
}

static void a_limit_leaves_what_is_not_mapped(void **state)
{
	struct rlimit space, files, changed;
	size_t left;

	(void)state;
	getrlimit(RLIMIT_AS, &space);
	getrlimit(RLIMIT_NOFILE, &files);
	if (space.rlim_cur != RLIM_INFINITY)
		skip();
	assert_int_equal(hak_os_address_space_bytes(), SIZE_MAX);
	changed = (struct rlimit){.rlim_cur = TOO_MANY_BYTES, .rlim_max = space.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_AS, &changed), 0);
	left = hak_os_address_space_bytes();
	ASSERT_ERRNO_IS_KEPT();
	assert_in_range(left, 1, TOO_MANY_BYTES - MIB);
	char *mapping = hak_os_map(16 * MIB);

	assert_in_range(hak_os_address_space_bytes(), left - 20 * MIB, left - 16 * MIB);
	hak_os_unmap(mapping, 16 * MIB);
	/* Where /proc cannot be read, nothing counts as mapped. */
	changed = (struct rlimit){.rlim_cur = 0, .rlim_max = files.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &changed), 0);
	left = hak_os_address_space_bytes();
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	ASSERT_ERRNO_IS_KEPT();
	assert_int_equal(left, TOO_MANY_BYTES);
	assert_int_equal(setrlimit(RLIMIT_AS, &space), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(reservations_open_where_they_are, start),
		cmocka_unit_test_setup(mappings_move_with_their_bytes, start),
		cmocka_unit_test_setup(returned_memory_reads_as_zero, start),
		cmocka_unit_test_setup(sleepers_wake, start),
		cmocka_unit_test_setup(the_machine_is_described, start),
		cmocka_unit_test_setup(a_limit_leaves_what_is_not_mapped, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
