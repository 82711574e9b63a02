#include "govern/cgroup.h"

#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STAT_BYTES 16384
#define MOUNTINFO_BYTES ((size_t)1 << 20)

ssize_t cgroup_read_file(const char *folder, const char *name, char *to, size_t size)
{
	char path[CGROUP_PATH_BYTES + 64];

	snprintf(path, sizeof path, "%s/%s", folder, name);
	return text_read_file(path, to, size);
}

/* Whether a list such as "rw,memory" has the word. */
static bool has_word(const char *list, const char *word)
{
	size_t length = strlen(word);

	while (list != NULL) {
		if (strncmp(list, word, length) == 0 &&
		    (list[length] == ',' || list[length] == '\0'))
			return true;
		list = strchr(list, ',');
		list = list != NULL ? list + 1 : NULL;
	}
	return false;
}

/* A line is "id parent major:minor root folder options fields... - type source options". The first
 * mount of a kind is the one that counts. */
static void parse_mount(const char *line, struct cgroup_mounts *mounts)
{
	const char *behind = strstr(line, " - ");
	char root[256], folder[128], type[32], options[256] = "";
	struct cgroup_mount *mount;

	if (behind == NULL || sscanf(line, "%*s %*s %*s %255s %127s", root, folder) != 2 ||
	    sscanf(behind, " - %31s %*s %255s", type, options) < 1)
		return;
	if (strcmp(type, "cgroup2") == 0)
		mount = &mounts->version2;
	else if (strcmp(type, "cgroup") == 0 && has_word(options, "memory"))
		mount = &mounts->memory;
	else
		return;
	if (mount->folder[0] != '\0')
		return;
	strcpy(mount->folder, folder);
	/* The root "/" is the begin of every path. */
	strcpy(mount->root, strcmp(root, "/") == 0 ? "" : root);
}

void cgroup_parse_mounts(const char *mountinfo, struct cgroup_mounts *mounts)
{
	char line[1024];

	*mounts = (struct cgroup_mounts){.version2 = {.folder = ""}};
	while (*mountinfo != '\0') {
		size_t length = strcspn(mountinfo, "\n");

		snprintf(line, sizeof line, "%.*s", (int)length, mountinfo);
		parse_mount(line, mounts);
		mountinfo += length;
		mountinfo += *mountinfo == '\n';
	}
}

void cgroup_read_mounts(struct cgroup_mounts *mounts)
{
	char *text = malloc(MOUNTINFO_BYTES);
	size_t used = 0;
	FILE *file = fopen("/proc/self/mountinfo", "re");

	*mounts = (struct cgroup_mounts){.version2 = {.folder = ""}};
	if (text != NULL && file != NULL) {
		used = fread(text, 1, MOUNTINFO_BYTES - 1, file);
		text[used] = '\0';
		cgroup_parse_mounts(text, mounts);
	}
	if (file != NULL)
		fclose(file);
	free(text);
}

/* The folder of a group; "" for the root, for what lies outside of the mount ("/../"), and for a
 * path that is too long. */
static void locate(const struct cgroup_mount *mount, const char *group, size_t length,
		   char folder[CGROUP_PATH_BYTES])
{
	size_t root_length = strlen(mount->root);
	int count;

	folder[0] = '\0';
	if (mount->folder[0] == '\0' || length < root_length ||
	    strncmp(group, mount->root, root_length) != 0)
		return;
	group += root_length;
	length -= root_length;
	if (length <= 1 || group[0] != '/' || strncmp(group, "/..", 3) == 0)
		return;
	count = snprintf(folder, CGROUP_PATH_BYTES, "%s%.*s", mount->folder, (int)length, group);
	if (count >= CGROUP_PATH_BYTES)
		folder[0] = '\0';
}

/* A line is "number:controllers:group", with no controllers for version 2. */
bool cgroup_parse_place(const struct cgroup_mounts *mounts, const char *text,
			struct cgroup_place *place)
{
	*place = (struct cgroup_place){.stalls = ""};
	while (*text != '\0') {
		size_t length = strcspn(text, "\n");
		const char *end = text + length, *list = strchr(text, ':'), *group;
		char controllers[256];

		group = list != NULL ? strchr(list + 1, ':') : NULL;
		if (group == NULL || group >= end)
			return false;
		group++;
		snprintf(controllers, sizeof controllers, "%.*s", (int)(group - list - 2),
			 list + 1);
		if (controllers[0] == '\0')
			locate(&mounts->version2, group, (size_t)(end - group), place->stalls);
		else if (has_word(controllers, "memory"))
			locate(&mounts->memory, group, (size_t)(end - group), place->limits);
		text = *end == '\n' ? end + 1 : end;
	}
	place->limits_base = strlen(mounts->memory.folder);
	/* Memory is in one of the two hierarchies. */
	if (mounts->memory.folder[0] == '\0') {
		strcpy(place->limits, place->stalls);
		place->limits_base = strlen(mounts->version2.folder);
		place->is_version2 = true;
	}
	return place->stalls[0] != '\0' || place->limits[0] != '\0';
}

bool cgroup_read_place(const struct cgroup_mounts *mounts, pid_t pid, struct cgroup_place *place)
{
	char folder[32], text[4096];

	snprintf(folder, sizeof folder, "/proc/%d", pid);
	*place = (struct cgroup_place){.stalls = ""};
	return cgroup_read_file(folder, "cgroup", text, sizeof text) > 0 &&
	       cgroup_parse_place(mounts, text, place);
}

static uint64_t read_bytes(const char *folder, const char *name)
{
	char text[64];
	uint64_t bytes;

	return cgroup_read_file(folder, name, text, sizeof text) > 0 &&
			       level_parse_bytes(text, &bytes)
		       ? bytes
		       : UINT64_MAX;
}

static uint64_t read_limit(const char *folder, bool is_version2)
{
	uint64_t most, high;

	if (!is_version2)
		return read_bytes(folder, "memory.limit_in_bytes");
	most = read_bytes(folder, "memory.max");
	high = read_bytes(folder, "memory.high");
	return high < most ? high : most;
}

void cgroup_find_limits(const struct cgroup_place *place, struct cgroup_limits *limits)
{
	char folder[CGROUP_PATH_BYTES];
	size_t length = strlen(place->limits);

	*limits = (struct cgroup_limits){.count = 0};
	strcpy(folder, place->limits);
	while (length > place->limits_base && limits->count < CGROUP_LIMITS_MAX) {
		if (read_limit(folder, place->is_version2) != UINT64_MAX)
			limits->lengths[limits->count++] = length;
		while (length > place->limits_base && folder[length] != '/')
			folder[length--] = '\0';
		folder[length] = '\0';
	}
}

/* What the kernel can drop at once is no use of the limit: files that are not in use, and pages
 * marked MADV_FREE, which it keeps in the same list. */
static bool read_room(const char *folder, bool is_version2, struct level_room *room)
{
	uint64_t used = read_bytes(folder,
				   is_version2 ? "memory.current" : "memory.usage_in_bytes");
	uint64_t inactive = 0;
	char text[STAT_BYTES];

	room->limit_bytes = read_limit(folder, is_version2);
	if (used == UINT64_MAX || room->limit_bytes == UINT64_MAX || room->limit_bytes == 0)
		return false;
	if (cgroup_read_file(folder, "memory.stat", text, sizeof text) > 0)
		(void)level_parse_key(text, is_version2 ? "inactive_file " : "total_inactive_file ",
				      &inactive);
	room->held_bytes = used;
	room->used_bytes = inactive < used ? used - inactive : 0;
	return true;
}

void cgroup_read_room(const struct cgroup_place *place, const struct cgroup_limits *limits,
		      struct level_room *room)
{
	*room = (struct level_room){.limit_bytes = 0};
	for (size_t i = 0; i < limits->count; i++) {
		char folder[CGROUP_PATH_BYTES];
		struct level_room here;

		snprintf(folder, sizeof folder, "%.*s", (int)limits->lengths[i], place->limits);
		if (!read_room(folder, place->is_version2, &here))
			continue;
		if (room->limit_bytes == 0 ||
		    (double)here.used_bytes * (double)room->limit_bytes >
			    (double)room->used_bytes * (double)here.limit_bytes)
			*room = here;
	}
}
