/* Goal: the memory that a process may hope for is the least limit of its control group and those
 * above, v1 and v2, whatever part of the path is there to be seen.
 * Method: trees of files as the kernel shows them, in a folder of the test's own. */
#include "unit.h"

#include "base/memory.h"
#include "base/os.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static char root[] = "/tmp/hak-memory-XXXXXX";

static int make_root(void **state)
{
	(void)state;
	return mkdtemp(root) == NULL ? -1 : 0;
}

/* A file with its folders, below the root. */
static void put(const char *path, const char *text)
{
	char whole[500];
	FILE *file;

	snprintf(whole, sizeof whole, "%s/%s", root, path);
	for (char *at = strchr(whole + strlen(root) + 1, '/'); at != NULL;
	     at = strchr(at + 1, '/')) {
		*at = '\0';
		assert_true(mkdir(whole, 0700) == 0 || errno == EEXIST);
		*at = '/';
	}
	file = fopen(whole, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static int remove_root(void **state)
{
	char command[100];

	(void)state;
	snprintf(command, sizeof command, "rm -r %s", root);
	return system(command);
}

static void v2_takes_the_least_of_all_above(void **state)
{
	(void)state;
	put("a/b/c/memory.max", "max\n");
	put("a/b/memory.max", "268435456\n");
	put("a/memory.max", "536870912\n");
	assert_int_equal(hak_memory_limit("0::/a/b/c\n", root), 256 * MIB);
	assert_int_equal(hak_memory_limit("0::/a\n", root), 512 * MIB);
	assert_true(hak_memory_limit("0::/\n", root) == SIZE_MAX);
	put("a/b/c/memory.max", "134217728\n");
	assert_int_equal(hak_memory_limit("0::/a/b/c\n", root), 128 * MIB);
}

/* A container sees its own group as the root, and a path that is the host's. */
static void a_container_finds_its_limit_at_the_root(void **state)
{
	(void)state;
	put("memory.max", "1073741824\n");
	assert_int_equal(hak_memory_limit("0::/docker/0123456789abcdef\n", root), 1024 * MIB);
	assert_int_equal(hak_memory_limit("0::/\n", root), 1024 * MIB);
	put("memory.max", "max\n");
}

static void v1_has_a_hierarchy_of_its_own(void **state)
{
	static const char rows[] = "5:devices:/x\n4:cpu,memory:/m/n\n1:name=systemd:/x\n0::/\n";

	(void)state;
	put("memory/m/n/memory.limit_in_bytes", "9223372036854771712\n"); /* none, in v1 */
	put("memory/m/memory.limit_in_bytes", "67108864\n");
	assert_int_equal(hak_memory_limit(rows, root), 64 * MIB);
	assert_true(hak_memory_limit("5:memoryless:/m\n", root) == SIZE_MAX);
}

static void what_is_no_membership_limits_nothing(void **state)
{
	char longest[3000];

	(void)state;
	assert_true(hak_memory_limit("", root) == SIZE_MAX);
	assert_true(hak_memory_limit("memory", root) == SIZE_MAX);
	assert_true(hak_memory_limit("4:memory", root) == SIZE_MAX);
	assert_true(hak_memory_limit(":::\n\n::\n", root) == SIZE_MAX);
	/* A path too long to be opened: its parents count. */
	memset(longest, 'y', sizeof longest);
	memcpy(longest, "0::/a/", 6);
	longest[sizeof longest - 1] = '\0';
	assert_int_equal(hak_memory_limit(longest, root), 512 * MIB);
}

static void it_is_the_machine_s_at_most(void **state)
{
	(void)state;
	assert_in_range(hak_memory_bytes(), MIB, hak_os_ram_bytes());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(v2_takes_the_least_of_all_above),
		cmocka_unit_test(a_container_finds_its_limit_at_the_root),
		cmocka_unit_test(v1_has_a_hierarchy_of_its_own),
		cmocka_unit_test(what_is_no_membership_limits_nothing),
		cmocka_unit_test(it_is_the_machine_s_at_most),
	};

	return cmocka_run_group_tests(tests, make_root, remove_root);
}
