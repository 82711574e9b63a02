#include "base/memory.h"

#include "base/os.h"
#include "base/sandbox.h"

#include <string.h>

/* A group's path is mostly a hundred bytes; one that does not fit is taken as its parents'. */
#define PATH_BYTES 1024
#define TEXT_BYTES 2048

/* Digits to a number; "max", which says that there is no limit, is none. */
static size_t number_of(const char *text)
{
	size_t number = 0;

	if (*text < '0' || *text > '9')
		return SIZE_MAX;
	for (; *text >= '0' && *text <= '9'; text++)
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, (size_t)(*text - '0'), &number))
			return SIZE_MAX;
	return number;
}

static bool append(char path[PATH_BYTES], size_t *used, const char *text, size_t bytes)
{
	if (bytes >= PATH_BYTES - *used)
		return false;
	memcpy(path + *used, text, bytes);
	*used += bytes;
	path[*used] = '\0';
	return true;
}

/* The limit that one file holds. */
static size_t limit_at(const char *folder, const char *group, size_t group_bytes, const char *file)
{
	char path[PATH_BYTES];
	char text[32];
	size_t used = 0;

	if (!append(path, &used, folder, strlen(folder)) ||
	    !append(path, &used, group, group_bytes) || !append(path, &used, file, strlen(file)) ||
	    hak_os_read_file(path, text, sizeof text) == 0)
		return SIZE_MAX;
	return number_of(text);
}

/* strcspn(3) would be one more name that is looked up at every program's start. */
static size_t bytes_before(const char *text, const char *ends)
{
	size_t bytes = 0;

	while (text[bytes] != '\0' && strchr(ends, text[bytes]) == NULL)
		bytes++;
	return bytes;
}

/* The least limit of a group and its parents, up to the root: in a container the path may be the
 * host's, of which only the last folder, the root here, exists. */
static size_t least_of(const char *folder, const char *group, const char *file)
{
	size_t bytes = bytes_before(group, "\n");
	size_t least = SIZE_MAX;

	for (;;) {
		while (bytes != 0 && group[bytes - 1] == '/')
			bytes--;
		size_t limit = limit_at(folder, group, bytes, file);

		least = limit < least ? limit : least;
		if (bytes == 0)
			return least;
		while (bytes != 0 && group[bytes - 1] != '/')
			bytes--;
	}
}

/* True where the row of /proc/PID/cgroup, "NUMBER:CONTROLLER,CONTROLLER:PATH", names memory. */
static bool is_of_memory(const char *row)
{
	const char *at = strchr(row, ':');

	while (at != NULL && at[0] != '\0' && at[1] != ':') {
		at++;
		size_t bytes = bytes_before(at, ",:\n");

		if (bytes == 6 && memcmp(at, "memory", 6) == 0)
			return true;
		at += bytes;
		if (*at != ',')
			return false;
	}
	return false;
}

static const char *path_of(const char *row)
{
	const char *first = strchr(row, ':');
	const char *second = first != NULL ? strchr(first + 1, ':') : NULL;

	return second != NULL ? second + 1 : "";
}

size_t hak_memory_limit(const char *membership, const char *root)
{
	size_t least = SIZE_MAX;

	for (const char *row = membership; row != NULL && *row != '\0';) {
		char folder[PATH_BYTES];
		size_t used = 0, limit = SIZE_MAX;
		bool is_v1 = is_of_memory(row);

		if (is_v1 && append(folder, &used, root, strlen(root)) &&
		    append(folder, &used, "/memory", 7))
			limit = least_of(folder, path_of(row), "/memory.limit_in_bytes");
		else if (strncmp(row, "0::", 3) == 0)
			limit = least_of(root, path_of(row), "/memory.max");
		least = limit < least ? limit : least;
		row = strchr(row, '\n');
		row = row != NULL ? row + 1 : NULL;
	}
	return least;
}

size_t hak_memory_bytes(void)
{
	char membership[TEXT_BYTES];
	size_t machine = hak_os_ram_bytes();
	size_t limit = SIZE_MAX;

	if (hak_sandbox_look() == HAK_SANDBOX_NONE &&
	    hak_os_read_file("/proc/self/cgroup", membership, sizeof membership) != 0)
		limit = hak_memory_limit(membership, "/sys/fs/cgroup");
	return limit < machine ? limit : machine;
}
