#include "govern/watch.h"

#include "base/os.h"
#include "base/policy.h"
#include "base/report.h"
#include "base/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <hak/hak.h>
#include <linux/magic.h>
#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Far from the numbers that a program expects to get, or to close. */
#define FD_MIN 100

/* Between two events, and so long a descriptor that the program has closed may be waited on. */
#define PAUSE_NS ((uint64_t)1000000000)
#define POLL_SECONDS 10

#define WORDS_BYTES_MAX (HAK_PRESSURE_WRITE_BYTES / 4 * 3)

static uint8_t words[WORDS_BYTES_MAX];
static size_t words_bytes;

static _Atomic int watched_fd = -1;
static short watched_events; /* POLLPRI, or POLLIN of what is to be read */
static dev_t watched_device;
static ino_t watched_inode;

static _Atomic uint64_t event_count;

uint64_t hak_watch_event_count(void)
{
	return atomic_load_explicit(&event_count, memory_order_relaxed);
}

static void say(const char *what, const char *text, long error)
{
	struct hak_line line;

	hak_line_begin(&line);
	hak_line_put(&line, what);
	hak_line_put(&line, text);
	if (error != 0) {
		hak_line_put(&line, ": errno ");
		hak_line_put_number(&line, (uint64_t)error);
	}
	hak_line_write(&line);
}

/* -1 for what is no digit. */
static int digit_of(char letter)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = letter != '\0' ? strchr(digits, letter) : NULL;

	return at != NULL ? (int)(at - digits) : -1;
}

bool hak_watch_decode(const char *text, uint8_t *bytes, size_t size, size_t *count)
{
	size_t length = strlen(text), letters = length;
	uint32_t bits = 0;

	while (letters != 0 && length - letters < 2 && text[letters - 1] == '=')
		letters--;
	*count = letters / 4 * 3 + (letters % 4 != 0 ? letters % 4 - 1 : 0);
	if (length % 4 != 0 || letters % 4 == 1 || *count > size)
		return false;
	for (size_t i = 0; i < length; i++) {
		int digit = i < letters ? digit_of(text[i]) : 0;

		if (digit < 0)
			return false;
		bits = bits << 6 | (uint32_t)digit;
		for (size_t byte = i / 4 * 3; i % 4 == 3 && byte < i / 4 * 3 + 3; byte++)
			if (byte < *count)
				bytes[byte] = (uint8_t)(bits >> (16 - 8 * (byte % 3)));
	}
	return true;
}

bool hak_watch_is_asked_for(void)
{
	const char *path = hak_pressure_words.watch;

	if (hak_pressure_words.is_too_long) {
		say("MEMORY_PRESSURE_WATCH and its WRITE", " are longer than can be; ignored", 0);
		return false;
	}
	if (path[0] == '\0' || strcmp(path, "/dev/null") == 0)
		return false;
	if (path[0] != '/') {
		say("MEMORY_PRESSURE_WATCH", " is no absolute path; ignored", 0);
		return false;
	}
	if (!hak_watch_decode(hak_pressure_words.write, words, sizeof words, &words_bytes)) {
		say("MEMORY_PRESSURE_WRITE", " is not base64; nothing is watched", 0);
		return false;
	}
	return true;
}

/* The descriptor is still what it was. */
static bool is_ours(int fd)
{
	struct stat file;

	return fd >= 0 && syscall(SYS_fstat, fd, &file) == 0 && file.st_dev == watched_device &&
	       file.st_ino == watched_inode;
}

/* Once a filter is at work nothing may be called any more, for ever. */
static bool has_leave(void)
{
	return hak_settings.registration == HAK_REGISTRATION_ALWAYS || !hak_sandbox_is_noted();
}

static int fd_now(void)
{
	return atomic_load_explicit(&watched_fd, memory_order_relaxed);
}

static void let_go(void)
{
	int fd = fd_now();

	atomic_store_explicit(&watched_fd, -1, memory_order_relaxed);
	if (has_leave() && is_ours(fd))
		syscall(SYS_close, fd);
}

void hak_watch_fork_child(void)
{
	int saved_errno = errno;

	if (fd_now() >= 0)
		let_go();
	errno = saved_errno;
}

static long open_socket(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	long fd;

	if (strlen(path) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, path);
	fd = syscall(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && syscall(SYS_connect, fd, &address, sizeof address) != 0) {
		int error = errno;

		syscall(SYS_close, fd);
		errno = error;
		return -1;
	}
	return fd;
}

/* A FIFO for both, so that there is always a writer: else it would be at its end for ever. A
 * pressure file for both where something is to be written. */
static long open_file(const char *path, bool is_fifo)
{
	int flags = O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	int access = is_fifo || words_bytes != 0 ? O_RDWR : O_RDONLY;

	return syscall(SYS_openat, AT_FDCWD, path, flags | access, 0);
}

/* Takes the path for what it is now. errno says why not. */
static long open_path(const char *path)
{
	struct stat file;

	if (syscall(SYS_newfstatat, AT_FDCWD, path, &file, 0) != 0)
		return -1;
	watched_events = S_ISREG(file.st_mode) ? POLLPRI : POLLIN;
	if (S_ISSOCK(file.st_mode))
		return open_socket(path);
	if (S_ISREG(file.st_mode) || S_ISFIFO(file.st_mode))
		return open_file(path, S_ISFIFO(file.st_mode));
	errno = EINVAL;
	return -1;
}

static long lift(long fd)
{
	long lifted = fd < 0 ? fd : syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, FD_MIN);
	int error = errno;

	if (fd >= 0)
		syscall(SYS_close, fd);
	errno = error;
	return lifted;
}

/* What is written to a file of anybody else's would change it. */
static bool is_of_kernel(long fd)
{
	struct statfs system;

	return syscall(SYS_fstatfs, fd, &system) == 0 &&
	       (system.f_type == PROC_SUPER_MAGIC || system.f_type == CGROUP2_SUPER_MAGIC);
}

/* A write to a socket whose other end has gone is no signal: all are blocked in this thread, and it
 * is for this thread. */
static bool prepare(long fd)
{
	struct stat file;

	if (fd < 0 || syscall(SYS_fstat, fd, &file) != 0)
		return false;
	watched_device = file.st_dev;
	watched_inode = file.st_ino;
	errno = EINVAL;
	if (watched_events == POLLPRI && !is_of_kernel(fd))
		return false;
	return words_bytes == 0 || syscall(SYS_write, fd, words, words_bytes) == (long)words_bytes;
}

/* Says once why not, and that it goes on trying. */
static bool begin(void)
{
	static bool is_said;
	const char *path = hak_pressure_words.watch;
	long fd = lift(open_path(path));

	if (prepare(fd)) {
		atomic_store_explicit(&watched_fd, (int)fd, memory_order_relaxed);
		return true;
	}
	if (!is_said)
		say("MEMORY_PRESSURE_WATCH cannot be watched yet: ", path, errno);
	is_said = true;
	if (fd >= 0)
		syscall(SYS_close, fd);
	return false;
}

static void sleep_for(uint64_t ns)
{
	static _Atomic uint32_t nobody_wakes;
	uint64_t end_ns = hak_os_now_ns() + ns;

	for (uint64_t now_ns = end_ns - ns; now_ns < end_ns; now_ns = hak_os_now_ns())
		hak_os_futex_wait(&nobody_wakes, 0, end_ns - now_ns);
}

/* False: the other end has gone. Bounded: what comes faster is left for the next turn. */
static bool drop_input(int fd)
{
	char bytes[512];
	long count = 0;

	if (watched_events == POLLPRI)
		return true;
	for (int i = 0; i < 16; i++) {
		count = syscall(SYS_read, fd, bytes, sizeof bytes);
		if (count <= 0)
			break;
	}
	return count > 0 || (count < 0 && errno == EAGAIN);
}

/* By ppoll(2), as poll(2) is no system call of every machine. False: it is to be opened anew. */
static bool wait_for_event(void)
{
	const struct timespec limit = {.tv_sec = POLL_SECONDS};
	struct pollfd polled = {.fd = fd_now(), .events = watched_events};
	struct timespec left = limit;
	long count;

	if (!is_ours(polled.fd))
		return false;
	count = syscall(SYS_ppoll, &polled, 1, &left, NULL, 0);
	if (!has_leave() || count == 0 || (count < 0 && errno == EINTR))
		return true;
	if (count < 0 || !is_ours(polled.fd))
		return false;
	/* POLLERR of a pressure file: its group is gone, or nothing is asked for. */
	if ((polled.revents & POLLERR) != 0 || (polled.revents & watched_events) == 0 ||
	    !drop_input(polled.fd))
		return false;
	if (!hak_policy_has_agent())
		return true;
	atomic_fetch_add_explicit(&event_count, 1, memory_order_relaxed);
	(void)hak_trim(SIZE_MAX);
	sleep_for(PAUSE_NS);
	return true;
}

void *hak_watch_run(void *context)
{
	(void)syscall(SYS_prctl, PR_SET_NAME, "hak-watch", 0, 0, 0);
	/* What a fork past all handlers has left. */
	let_go();
	while (has_leave() && !hak_os_is_left_with(1)) {
		if (fd_now() < 0 && !begin()) {
			sleep_for(HAK_WATCH_RETRY_NS);
			continue;
		}
		if (wait_for_event())
			continue;
		let_go();
		sleep_for(watched_events == POLLPRI ? HAK_WATCH_RETRY_NS : PAUSE_NS);
	}
	return context;
}
