#include "fleet/process.h"

#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* vm.max_map_count is 65,530 by default; who has raised it far is not looked through. */
#define MAPS_LINES_MAX 200000

/* Reads /proc/PID/name as a string; returns its length or a negative errno. */
static ssize_t read_proc(pid_t pid, const char *name, char *to, size_t size)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	return text_read_file(path, to, size);
}

int process_start_ticks(pid_t pid, uint64_t *start_ticks)
{
	char stat[1024];
	ssize_t count = read_proc(pid, "stat", stat, sizeof stat);
	const char *at;

	if (count < 0)
		return (int)count;
	/* comm may hold blanks and brackets: what counts begins after the last bracket, with
	 * field 3. */
	at = strrchr(stat, ')');
	for (int field = 2; at != NULL && field < 22; field++) {
		at = strchr(at + 1, ' ');
		if (at == NULL)
			return -EIO;
	}
	if (at == NULL)
		return -EIO;
	*start_ticks = strtoull(at + 1, NULL, 10);
	return 0;
}

bool process_has_ended(pid_t pid, uint64_t start_ticks)
{
	uint64_t seen_ticks;
	int error = process_start_ticks(pid, &seen_ticks);

	return error == 0 ? seen_ticks != start_ticks : error == -ENOENT || error == -ESRCH;
}

/* /proc is asked after the pidfd is there: the pid is still that process's then. */
int process_open(pid_t pid, uint64_t start_ticks)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	uint64_t seen_ticks;

	if (pidfd < 0)
		return -errno;
	if (process_start_ticks(pid, &seen_ticks) == 0 && seen_ticks == start_ticks)
		return pidfd;
	close(pidfd);
	return -ESRCH;
}

static bool ends_in(const char *string, size_t length, const char *end)
{
	size_t end_length = strlen(end);

	return length > end_length && memcmp(string + length - end_length, end, end_length) == 0;
}

static bool is_service(const char *name)
{
	return ends_in(name, strlen(name), ".service");
}

void process_unit_of(const char *cgroup, char *unit, size_t size)
{
	unit[0] = '\0';
	while (*cgroup != '\0') {
		size_t length = strcspn(cgroup, "/");

		if (ends_in(cgroup, length, ".service") || ends_in(cgroup, length, ".scope") ||
		    ends_in(cgroup, length, ".slice"))
			text_clean(unit, size, cgroup, length);
		cgroup += length;
		cgroup += *cgroup == '/';
	}
}

/* Version 2's line is "0::PATH". Beside version 1 ("hybrid") systemd's tree may be the one that is
 * called name=systemd. */
static void read_cgroup(pid_t pid, struct process_identity *identity)
{
	char text[4096], *line, *next;

	if (read_proc(pid, "cgroup", text, sizeof text) < 0)
		return;
	for (line = text; line != NULL && *line != '\0'; line = next) {
		const char *path = NULL;

		next = strchr(line, '\n');
		if (next != NULL)
			*next++ = '\0';
		if (strncmp(line, "0::", 3) == 0)
			path = line + 3;
		else if (strstr(line, ":name=systemd:") != NULL)
			path = strstr(line, ":name=systemd:") + strlen(":name=systemd:");
		if (path == NULL || identity->unit[0] != '\0')
			continue;
		process_unit_of(path, identity->unit, sizeof identity->unit);
		text_clean(identity->cgroup, sizeof identity->cgroup, path, strlen(path));
	}
}

static void read_exe(pid_t pid, const char *said, char *exe, size_t size)
{
	static const char deleted[] = " (deleted)";
	char path[64], target[4096];
	ssize_t count;

	snprintf(path, sizeof path, "/proc/%d/exe", pid);
	count = readlink(path, target, sizeof target);
	if (count < 0)
		count = snprintf(target, sizeof target, "%s", said);
	/* So that an upgrade of its package does not move a program to another group. */
	if (ends_in(target, (size_t)count, deleted))
		count -= (ssize_t)strlen(deleted);
	text_clean(exe, size, target, (size_t)count);
}

void process_read_comm(pid_t pid, char comm[PROCESS_COMM_BYTES])
{
	char text[PROCESS_COMM_BYTES];
	ssize_t count = read_proc(pid, "comm", text, sizeof text);

	if (count > 0 && text[count - 1] == '\n')
		count--;
	text_clean(comm, PROCESS_COMM_BYTES, text, count > 0 ? (size_t)count : 0);
}

bool process_identify(pid_t pid, const char *said_exe, struct process_identity *identity)
{
	const char *program;

	memset(identity, 0, sizeof *identity);
	if (process_start_ticks(pid, &identity->start_ticks) != 0)
		return false;
	process_read_comm(pid, identity->comm);
	read_exe(pid, said_exe, identity->exe, sizeof identity->exe);
	read_cgroup(pid, identity);

	program = strrchr(identity->exe, '/');
	program = program != NULL ? program + 1 : identity->comm;
	if (is_service(identity->unit))
		program = identity->unit;
	else if (is_service(program))
		program = ""; /* anybody can call a program so */
	snprintf(identity->group, sizeof identity->group, "%.*s", (int)sizeof identity->group - 1,
		 program[0] != '\0' ? program : "unknown");
	return true;
}

void process_read_memory(pid_t pid, struct process_memory *memory)
{
	char text[256], *end;
	uint64_t shared_bytes;
	uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);

	*memory = (struct process_memory){.virtual_bytes = 0};
	if (read_proc(pid, "statm", text, sizeof text) <= 0)
		return;
	memory->virtual_bytes = strtoull(text, &end, 10) * page_bytes;
	memory->resident_bytes = strtoull(end, &end, 10) * page_bytes;
	shared_bytes = strtoull(end, NULL, 10) * page_bytes;
	/* Both are read one after the other, while the process goes on. */
	if (shared_bytes < memory->resident_bytes)
		memory->anonymous_bytes = memory->resident_bytes - shared_bytes;
}

/* A line is "start-end perms offset major:minor inode path". */
static bool is_mapping_of(const char *line, dev_t device, ino_t inode)
{
	unsigned int line_major, line_minor;
	unsigned long long line_inode;

	return strstr(line, "/memfd:") != NULL &&
	       sscanf(line, "%*s %*s %*s %x:%x %llu", &line_major, &line_minor, &line_inode) == 3 &&
	       line_inode == inode && makedev(line_major, line_minor) == device;
}

enum process_maps process_maps_memfd(pid_t pid, dev_t device, ino_t inode)
{
	enum process_maps answer = PROCESS_MAPS_NO;
	char path[64], *line = NULL;
	size_t size = 0, line_count = 0;
	FILE *maps;

	snprintf(path, sizeof path, "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	/* No mappings at all (ESRCH, in some kernels an empty file) has a process whose first
	 * thread has ended, too. */
	if (maps == NULL)
		return errno == ENOENT ? PROCESS_MAPS_NO : PROCESS_MAPS_UNKNOWN;
	while (answer == PROCESS_MAPS_NO && getline(&line, &size, maps) > 0) {
		if (is_mapping_of(line, device, inode))
			answer = PROCESS_MAPS_YES;
		else if (++line_count >= MAPS_LINES_MAX)
			answer = PROCESS_MAPS_UNKNOWN;
	}
	if (answer == PROCESS_MAPS_NO && (ferror(maps) || line_count == 0))
		answer = PROCESS_MAPS_UNKNOWN;
	free(line);
	fclose(maps);
	return answer;
}

static uint64_t count_fds(void)
{
	DIR *folder = opendir("/proc/self/fd");
	uint64_t count = 0;

	if (folder == NULL)
		return 0;
	while (readdir(folder) != NULL)
		count++;
	closedir(folder);
	return count > 3 ? count - 3 : 0; /* ".", ".." and the folder's own */
}

void process_read_self(struct process_self *self)
{
	struct process_memory memory;
	struct rusage usage;

	process_read_memory(getpid(), &memory);
	self->resident_bytes = memory.resident_bytes;
	self->fd_count = count_fds();
	getrusage(RUSAGE_SELF, &usage);
	self->cpu_seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
			    (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}
