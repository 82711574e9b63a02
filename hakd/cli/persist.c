#include "cli/persist.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER "hakd.conf.d"

/* What hakd takes as the name of a section, and a group that needs no other name in a file's. */
#define NAME_BYTES_MAX 48
#define GROUP_BYTES_MAX 120

static bool is_plain(const char *group)
{
	size_t length = strspn(group, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789@._-");

	return group[length] == '\0' && length <= NAME_BYTES_MAX;
}

/* Fowler, Noll and Vo's: other names must not meet in one file. */
static uint64_t hash_of(const char *group)
{
	uint64_t hash = 0xcbf29ce484222325u;

	for (; *group != '\0'; group++)
		hash = (hash ^ (unsigned char)*group) * 0x100000001b3u;
	return hash;
}

static void name_of(const char *group, char name[NAME_BYTES_MAX + 1])
{
	if (is_plain(group))
		snprintf(name, NAME_BYTES_MAX + 1, "%s", group);
	else
		snprintf(name, NAME_BYTES_MAX + 1, "%016" PRIx64, hash_of(group));
}

/* Whether the name is read back as it was written. */
static bool may_be_written(const char *group)
{
	size_t length = strlen(group);

	for (const char *at = group; *at != '\0'; at++)
		if (*at < ' ' || *at > '~' || *at == ';')
			return false;
	return length > 0 && length <= GROUP_BYTES_MAX && group[0] != ' ' &&
	       group[length - 1] != ' ';
}

static char *path_of(const char *dir, const char *group, const char *end)
{
	char name[NAME_BYTES_MAX + 1], *path = NULL;

	name_of(group, name);
	if (asprintf(&path, "%s/" FOLDER "/50-budget-%s%s", dir, name, end) < 0)
		path = NULL;
	return arguments_must(path);
}

static enum exit_code fail(const char *what, const char *path, int error)
{
	arguments_complain("cannot %s %s: %s", what, path, strerror(error));
	return error == EACCES || error == EPERM || error == EROFS ? EXIT_CODE_NO_PERMISSION
								   : EXIT_CODE_FAILED;
}

static enum exit_code make_folder(const char *dir)
{
	char *path = NULL;
	enum exit_code code = EXIT_CODE_OK;

	if (asprintf(&path, "%s/" FOLDER, dir) < 0)
		path = NULL;
	arguments_must(path);
	if (mkdir(dir, 0755) != 0 && errno != EEXIST)
		code = fail("make the directory", dir, errno);
	else if (mkdir(path, 0755) != 0 && errno != EEXIST)
		code = fail("make the directory", path, errno);
	free(path);
	return code;
}

static void print(FILE *file, const struct budget_wish *wish)
{
	char name[NAME_BYTES_MAX + 1];

	name_of(wish->whose, name);
	fprintf(file,
		"# Written by hakctl budget set --persist; hakctl budget clear --persist removes "
		"it.\n[budget %s]\ngroup = %s\n",
		name, wish->whose);
	if (wish->has_soft)
		fprintf(file, "soft = %" PRIu64 "\n", wish->soft_bytes);
	if (wish->has_hard)
		fprintf(file, "hard = %" PRIu64 "\n", wish->hard_bytes);
	if (wish->limit != BUDGET_LIMIT_AS_IS)
		fprintf(file, "on-limit = %s\n",
			wish->limit == BUDGET_LIMIT_FAIL ? "fail" : "report");
}

/* 0 or an errno. The daemon is another user, and must be able to read it. */
static int write_file(const char *path, const struct budget_wish *wish)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	int error = 0;
	FILE *file;

	if (fd < 0)
		return errno;
	file = fdopen(fd, "w");
	if (file == NULL) {
		error = errno;
		close(fd);
		return error;
	}
	print(file, wish);
	if (fflush(file) != 0 || fchmod(fd, 0644) != 0 || fsync(fd) != 0)
		error = errno;
	if (fclose(file) != 0 && error == 0)
		error = errno;
	return error;
}

enum exit_code persist_write(const char *dir, const struct budget_wish *wish)
{
	char *path, *draft, *before;
	enum exit_code code;
	int error;

	if (!may_be_written(wish->whose)) {
		arguments_complain("the group '%s' has a name that no configuration can hold",
				   wish->whose);
		return EXIT_CODE_FAILED;
	}
	code = make_folder(dir);
	if (code != EXIT_CODE_OK)
		return code;
	path = path_of(dir, wish->whose, ".conf");
	/* Of another name than hakd reads. */
	draft = path_of(dir, wish->whose, ".new");
	before = path_of(dir, wish->whose, ".old");
	error = write_file(draft, wish);
	unlink(before);
	if (error == 0 && link(path, before) != 0 && errno != ENOENT)
		error = errno;
	if (error == 0 && rename(draft, path) != 0)
		error = errno;
	if (error != 0) {
		code = fail("write", path, error);
		unlink(draft);
	}
	free(before);
	free(draft);
	free(path);
	return code;
}

void persist_settle(const char *dir, const char *group, bool is_taken)
{
	char *path = path_of(dir, group, ".conf"), *before = path_of(dir, group, ".old");

	if (is_taken)
		unlink(before);
	else if (rename(before, path) != 0)
		unlink(path);
	free(before);
	free(path);
}

enum exit_code persist_remove(const char *dir, const char *group, bool *removed)
{
	char *path = path_of(dir, group, ".conf");
	enum exit_code code = EXIT_CODE_OK;

	*removed = unlink(path) == 0;
	if (!*removed && errno != ENOENT && errno != ENOTDIR)
		code = fail("remove", path, errno);
	free(path);
	return code;
}
