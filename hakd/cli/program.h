/* program.h - what a command is, before it is run: its file, and which loader will start it.
 *
 * Found as execvp(3) finds it. A script is followed to its interpreter, since that is what a
 * library is preloaded into; a script without #! is /bin/sh's. What an interpreter runs then, such
 * as python3 behind "/usr/bin/env python3", is its own affair.
 *
 * Errors are told on stderr. One thread. Source: execve(2), execvp(3), elf(5).
 */
#ifndef HAK_CLI_PROGRAM_H
#define HAK_CLI_PROGRAM_H

#include "cli/arguments.h"

#include <limits.h>

/* Interpreters of interpreters, as many as the kernel follows. */
#define PROGRAM_SCRIPTS_MAX 5

struct program_format {
	unsigned char class; /* ELFCLASS32, ELFCLASS64 */
	unsigned machine;    /* EM_X86_64, ... */
	unsigned type;	     /* ET_EXEC, ET_DYN, ... */
};

struct program {
	char path[PATH_MAX];   /* what is executed */
	char binary[PATH_MAX]; /* the same, or the interpreter of the script that it is */
	char loader[PATH_MAX]; /* that the binary asks for; "": none, it is static */
	struct program_format format;
};

/* EXIT_CODE_OK; EXIT_CODE_NOT_FOUND, EXIT_CODE_CANNOT_RUN: said why. */
enum exit_code program_find(struct program *program, const char *command);

/* The format of an ELF file; false where it is none, or cannot be read: errno is 0 then, or why. */
bool program_read_format(int fd, struct program_format *format);

/* Whether execve(2) of this file changes who runs it, so that its loader takes no LD_PRELOAD: NULL,
 * or what changes it. */
const char *program_changes_rights(const char *path);

#endif
