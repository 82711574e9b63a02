#include "cli/program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Where execvp(3) looks without $PATH. */
#define PATH_DEFAULT "/bin:/usr/bin"

/* What the kernel reads of a file to know what it is. */
#define HEAD_BYTES 256

#define NATIVE_CLASS (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32)

static bool is_file_to_run(const char *path)
{
	struct stat status;

	if (access(path, X_OK) != 0 || stat(path, &status) != 0)
		return false;
	errno = S_ISREG(status.st_mode) ? 0 : EACCES;
	return errno == 0;
}

/* The first of $PATH's folders that has it. One that may not be run is what is said if no other is
 * found. */
static bool search(const char *command, char path[PATH_MAX])
{
	const char *folders = getenv("PATH") != NULL ? getenv("PATH") : PATH_DEFAULT;
	int error = ENOENT;

	for (const char *at = folders;; at++) {
		int length = (int)strcspn(at, ":");

		if (snprintf(path, PATH_MAX, "%.*s/%s", length == 0 ? 1 : length,
			     length == 0 ? "." : at, command) < PATH_MAX) {
			if (is_file_to_run(path))
				return true;
			error = errno == EACCES ? EACCES : error;
		}
		at += length;
		if (*at == '\0')
			break;
	}
	errno = error;
	return false;
}

static enum exit_code find(const char *command, char path[PATH_MAX])
{
	bool is_found;

	if (strchr(command, '/') == NULL) {
		errno = ENOENT;
		is_found = command[0] != '\0' && search(command, path);
	} else {
		is_found = snprintf(path, PATH_MAX, "%s", command) < PATH_MAX;
		errno = ENAMETOOLONG;
		is_found = is_found && is_file_to_run(path);
	}
	if (is_found)
		return EXIT_CODE_OK;
	if (errno == ENOENT && strchr(command, '/') == NULL) {
		arguments_complain("there is no command '%s' in $PATH", command);
		return EXIT_CODE_NOT_FOUND;
	}
	arguments_complain("cannot run '%s': %s", command, strerror(errno));
	return errno == ENOENT ? EXIT_CODE_NOT_FOUND : EXIT_CODE_CANNOT_RUN;
}

bool program_read_format(int fd, struct program_format *format)
{
	ElfW(Ehdr) header; /* up to e_machine it is the same for 32 and 64 bits */
	ssize_t bytes = pread(fd, &header, sizeof header, 0);

	if (bytes >= 0)
		errno = 0;
	if (bytes < (ssize_t)sizeof header || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
		return false;
	*format = (struct program_format){
		.class = header.e_ident[EI_CLASS],
		.machine = header.e_machine,
		.type = header.e_type,
	};
	return true;
}

/* The path in PT_INTERP; "" where there is none. False: the file is damaged. */
static bool read_loader(int fd, char loader[PATH_MAX])
{
	ElfW(Ehdr) header;

	loader[0] = '\0';
	if (pread(fd, &header, sizeof header, 0) != (ssize_t)sizeof header ||
	    header.e_phentsize != sizeof(ElfW(Phdr)))
		return false;
	for (unsigned i = 0; i < header.e_phnum; i++) {
		ElfW(Phdr) part;

		if (pread(fd, &part, sizeof part, (off_t)(header.e_phoff + i * sizeof part)) !=
		    (ssize_t)sizeof part)
			return false;
		if (part.p_type != PT_INTERP)
			continue;
		if (part.p_filesz == 0 || part.p_filesz >= PATH_MAX ||
		    pread(fd, loader, part.p_filesz, (off_t)part.p_offset) !=
			    (ssize_t)part.p_filesz)
			return false;
		loader[part.p_filesz] = '\0';
		return true;
	}
	return true;
}

/* The interpreter that the first line of a script names; that of a text without one is the shell.
 */
static void read_interpreter(const char *head, char path[PATH_MAX])
{
	const char *at = head + 2;

	if (strncmp(head, "#!", 2) != 0) {
		strcpy(path, "/bin/sh");
		return;
	}
	at += strspn(at, " \t");
	snprintf(path, PATH_MAX, "%.*s", (int)strcspn(at, " \t\n"), at);
}

static enum exit_code refuse(const struct program *program, const char *why)
{
	if (strcmp(program->path, program->binary) == 0)
		arguments_complain("cannot run '%s': %s", program->path, why);
	else
		arguments_complain("cannot run '%s': its interpreter '%s': %s", program->path,
				   program->binary, why);
	return EXIT_CODE_CANNOT_RUN;
}

/* One step: what `binary` is, or the script's interpreter in its place. */
static enum exit_code look(struct program *program, int fd, bool *is_script)
{
	char head[HEAD_BYTES] = "";
	bool is_elf = program_read_format(fd, &program->format);

	*is_script = !is_elf;
	if (!is_elf && errno != 0)
		return refuse(program, strerror(errno));
	if (!is_elf) {
		if (pread(fd, head, sizeof head - 1, 0) < 0)
			return refuse(program, strerror(errno));
		read_interpreter(head, program->binary);
		return EXIT_CODE_OK;
	}
	program->loader[0] = '\0';
	if (program->format.class == NATIVE_CLASS && !read_loader(fd, program->loader))
		return refuse(program, "it is no complete ELF file");
	return EXIT_CODE_OK;
}

enum exit_code program_find(struct program *program, const char *command)
{
	enum exit_code code = find(command, program->path);
	bool is_script = true;

	strcpy(program->binary, program->path);
	for (int i = 0; code == EXIT_CODE_OK && is_script; i++) {
		int fd = open(program->binary, O_RDONLY | O_CLOEXEC);

		/* A file that may be run but not read. */
		if (fd < 0)
			return refuse(program, strerror(errno));
		code = i > PROGRAM_SCRIPTS_MAX ? refuse(program, strerror(ELOOP))
					       : look(program, fd, &is_script);
		close(fd);
	}
	return code;
}

const char *program_changes_rights(const char *path)
{
	struct stat status;
	struct statvfs volume;

	if (getuid() != geteuid() || getgid() != getegid())
		return "hak-run itself runs with the rights of another user";
	if (stat(path, &status) != 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ||
	    (statvfs(path, &volume) == 0 && (volume.f_flag & ST_NOSUID) != 0))
		return NULL;
	if ((status.st_mode & S_ISUID) != 0 && status.st_uid != getuid())
		return "it is set-user-ID";
	if ((status.st_mode & S_ISGID) != 0 && (status.st_mode & S_IXGRP) != 0 &&
	    status.st_gid != getgid())
		return "it is set-group-ID";
	if (getuid() != 0 && getxattr(path, "security.capability", NULL, 0) > 0)
		return "it has file capabilities";
	return NULL;
}
