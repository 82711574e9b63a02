/* process.h - what the kernel says of a process, from /proc.
 *
 * The names in it (comm, exe) are the process's own choice: they are shown and never trusted, and
 * are made safe to show here (text_clean). What cannot be read, because the process is another
 * user's or has ended, is left empty, or is what the process has said of itself. Nothing here waits
 * or allocates.
 */
#ifndef HAKD_FLEET_PROCESS_H
#define HAKD_FLEET_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define PROCESS_COMM_BYTES 64

struct process_identity {
	uint64_t start_ticks; /* since boot; with the pid it names the process for good */
	char comm[PROCESS_COMM_BYTES];
	char exe[256];	  /* what it says itself where hakd may not look */
	char cgroup[256]; /* the path of its control group, as far as it is printable */
	char unit[128];	  /* its systemd unit: the innermost .service, .scope or .slice */
	char group[128];  /* the unit where that is a service, else the program's name, where
			    that does not pose as one */
};

struct process_memory {
	uint64_t virtual_bytes; /* 0: not known */
	uint64_t resident_bytes;
	uint64_t anonymous_bytes; /* of those: no files, nothing that processes share */
};

/* 0 or a negative errno. */
int process_start_ticks(pid_t pid, uint64_t *start_ticks);

/* Whether the process that began then has ended. Not where nothing can be read for now. */
bool process_has_ended(pid_t pid, uint64_t start_ticks);

/* A pidfd of the process that began then, or a negative errno: -ESRCH where it has ended. */
int process_open(pid_t pid, uint64_t start_ticks);

/* The name it has now, cleaned; "" where there is none. */
void process_read_comm(pid_t pid, char comm[PROCESS_COMM_BYTES]);

/* `said_exe` is what the process says of /proc/PID/exe, "" for nothing. False: there is no such
 * process. */
bool process_identify(pid_t pid, const char *said_exe, struct process_identity *identity);

void process_read_memory(pid_t pid, struct process_memory *memory);

enum process_maps {
	PROCESS_MAPS_YES,
	PROCESS_MAPS_NO,
	PROCESS_MAPS_UNKNOWN, /* not allowed to look, or too many mappings */
};

/* Whether the process maps this memfd. */
enum process_maps process_maps_memfd(pid_t pid, dev_t device, ino_t inode);

/* The innermost unit that a cgroup path names, "" for none. For tests. */
void process_unit_of(const char *cgroup, char *unit, size_t size);

/* Of this process itself. */
struct process_self {
	uint64_t resident_bytes;
	uint64_t fd_count;
	double cpu_seconds;
};

void process_read_self(struct process_self *self);

#endif
