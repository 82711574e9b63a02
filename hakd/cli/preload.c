#include "cli/preload.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of what the loader prints, a line for each library. */
#define LIST_BYTES 65536

/* How long a loader may take, with a disk that is slow. */
#define LIST_TIMEOUT_MS 30000

static enum exit_code refuse(const char *path, const char *why)
{
	arguments_complain("cannot preload '%s': %s", path, why);
	return EXIT_CODE_CANNOT_PRELOAD;
}

/* The strings of its symbols are in the file as they are. */
static bool is_libhak(int fd, size_t bytes)
{
	static const char name[] = "\0hak_version";
	void *start = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	bool has_name;

	if (start == MAP_FAILED)
		return false;
	has_name = memmem(start, bytes, name, sizeof name) != NULL;
	munmap(start, bytes);
	return has_name;
}

static enum exit_code look(const char *path, struct program_format *format)
{
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const char *why = NULL;

	if (fd < 0)
		return refuse(path, strerror(errno));
	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
		why = "it is not a file";
	else if (!program_read_format(fd, format) || format->type != ET_DYN)
		why = "it is no shared library";
	else if (!is_libhak(fd, (size_t)status.st_size))
		why = "it is another library than libhak";
	close(fd);
	return why == NULL ? EXIT_CODE_OK : refuse(path, why);
}

/* Beside this program: as both are installed, then as both are built. */
static enum exit_code find_beside(bool is_secure, char path[PATH_MAX])
{
	static const char *const folders[] = {HAK_RUN_LIBRARY_DIR, "../../libhak"};
	const char *name = is_secure ? HAK_RUN_SECURE : HAK_RUN_LIBRARY;
	char self[PATH_MAX], tried[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);

	self[length < 0 ? 0 : length] = '\0';
	if (strrchr(self, '/') != NULL)
		*strrchr(self, '/') = '\0';
	for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
		bool is_whole = folders[i][0] == '/';

		if (snprintf(tried, sizeof tried, "%s%s%s/%s", is_whole ? "" : self,
			     is_whole ? "" : "/", folders[i], name) < PATH_MAX &&
		    realpath(tried, path) != NULL)
			return EXIT_CODE_OK;
	}
	arguments_complain("%s is neither in %s/%s nor built beside hak-run; --lib says where it "
			   "is",
			   name, self, folders[0]);
	return EXIT_CODE_CANNOT_PRELOAD;
}

enum exit_code preload_find(const char *given, bool is_secure, char path[PATH_MAX])
{
	struct program_format format;
	enum exit_code code = EXIT_CODE_OK;

	if (given == NULL)
		code = find_beside(is_secure, path);
	else if (realpath(given, path) == NULL)
		code = refuse(given, strerror(errno));
	if (code == EXIT_CODE_OK && strpbrk(path, ": $") != NULL)
		code = refuse(path, "LD_PRELOAD takes no path with a blank, a colon or a dollar");
	return code == EXIT_CODE_OK ? look(path, &format) : code;
}

static bool names_libhak(const char *entry, size_t length)
{
	static const char *const names[] = {"libhak.so", "libhak-secure.so"};

	for (size_t i = length; i > 0; i--)
		if (entry[i - 1] == '/') {
			entry += i;
			length -= i;
			break;
		}
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (length >= strlen(names[i]) && strncmp(entry, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

void preload_set(const char *path)
{
	static const char between[] = ": \t\n";
	const char *old = getenv("LD_PRELOAD") != NULL ? getenv("LD_PRELOAD") : "";
	char *list = arguments_must(malloc(strlen(path) + strlen(old) + 2));
	char *end = stpcpy(list, path);

	for (const char *at = old + strspn(old, between); *at != '\0'; at += strspn(at, between)) {
		size_t length = strcspn(at, between);

		if (!names_libhak(at, length)) {
			*end++ = ':';
			end = mempcpy(end, at, length);
			*end = '\0';
		}
		at += length;
	}
	if (setenv("LD_PRELOAD", list, 1) != 0)
		(void)arguments_must(NULL);
	free(list);
}

/* Both outputs of a command, as far as there is room; false: it did not come to an end. */
static bool read_output(int fd, char text[LIST_BYTES])
{
	size_t used = 0;
	ssize_t bytes;

	for (;;) {
		struct pollfd wait = {.fd = fd, .events = POLLIN};

		text[used] = '\0';
		if (poll(&wait, 1, LIST_TIMEOUT_MS) <= 0)
			return false;
		if (used == LIST_BYTES - 1)
			return true;
		bytes = read(fd, text + used, LIST_BYTES - 1 - used);
		if (bytes <= 0)
			return bytes == 0;
		used += (size_t)bytes;
	}
}

/* What the loader says that it would load. Not all of it where it is killed or too slow. */
static void list(const struct program *program, char text[LIST_BYTES])
{
	char option[] = "--list";
	char *arguments[] = {(char *)(uintptr_t)program->loader, option,
			     (char *)(uintptr_t)program->binary, NULL};
	posix_spawn_file_actions_t actions;
	int ends[2];
	pid_t child;

	text[0] = '\0';
	if (pipe2(ends, O_CLOEXEC) != 0)
		return;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
	if (posix_spawn(&child, program->loader, &actions, NULL, arguments, environ) == 0) {
		close(ends[1]);
		ends[1] = -1;
		if (!read_output(ends[0], text))
			kill(child, SIGKILL);
		while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
			continue;
	} else {
		snprintf(text, LIST_BYTES, "its loader '%s' cannot be run", program->loader);
	}
	posix_spawn_file_actions_destroy(&actions);
	close(ends[0]);
	if (ends[1] >= 0)
		close(ends[1]);
}

/* The line that begins at, or holds, `at`; without its end. */
static char *line_at(char *text, char *at)
{
	while (at > text && at[-1] != '\n')
		at--;
	at[strcspn(at, "\n")] = '\0';
	return at + strspn(at, " \t");
}

/* A library that was found stands in a line of its own, with the address that it would have. */
static enum exit_code ask_loader(const struct program *program, const char *path)
{
	char *text = arguments_must(malloc(LIST_BYTES));
	char wanted[PATH_MAX + 16], missing[PATH_MAX + 16];
	char *at;
	enum exit_code code = EXIT_CODE_OK;

	snprintf(wanted, sizeof wanted, "\t%s (0x", path);
	snprintf(missing, sizeof missing, "(required by %s)", path);
	list(program, text);
	at = strstr(text, missing);
	if (at != NULL || strstr(text, wanted) == NULL) {
		if (at == NULL)
			at = strstr(text, path);
		arguments_complain("'%s' cannot load '%s': %s", program->binary, path,
				   line_at(text, at != NULL ? at : text));
		code = EXIT_CODE_CANNOT_PRELOAD;
	}
	free(text);
	return code;
}

/* musl's is ld-musl-ARCH.so.1, Android's is linker64. */
static bool is_glibc_loader(const char *loader)
{
	const char *name = strrchr(loader, '/') != NULL ? strrchr(loader, '/') + 1 : loader;

	return strncmp(name, "ld-linux", 8) == 0 || strncmp(name, "ld64.so", 7) == 0 ||
	       strncmp(name, "ld.so", 5) == 0 || strncmp(name, "ld-2", 4) == 0;
}

enum exit_code preload_check(const struct program *program, const char *path)
{
	struct program_format format;
	enum exit_code code = look(path, &format);
	const char *change = program_changes_rights(program->binary);

	if (code != EXIT_CODE_OK)
		return code;
	if (program->format.class != format.class || program->format.machine != format.machine) {
		arguments_complain("'%s' is for another machine than '%s' (%s bits, ELF machine %u "
				   "and not %u)",
				   program->binary, path,
				   program->format.class == ELFCLASS32 ? "32" : "64",
				   program->format.machine, format.machine);
		return EXIT_CODE_CANNOT_PRELOAD;
	}
	if (program->loader[0] == '\0') {
		arguments_complain("'%s' is static: nothing can be preloaded into it",
				   program->binary);
		return EXIT_CODE_CANNOT_PRELOAD;
	}
	if (!is_glibc_loader(program->loader)) {
		arguments_complain("'%s' has the loader '%s', not that of the GNU C library, which "
				   "libhak needs",
				   program->binary, program->loader);
		return EXIT_CODE_CANNOT_PRELOAD;
	}
	if (change != NULL) {
		arguments_complain("'%s' takes no LD_PRELOAD: %s", program->binary, change);
		return EXIT_CODE_CANNOT_PRELOAD;
	}
	return ask_loader(program, path);
}
