/* Goal: the kernel's word of memory pressure is heard, of the system and of the groups of
 * processes; a kernel that says nothing is no error; what is watched is bounded and let go.
 * Method: real triggers, and a process in real control groups (root alone, else skipped) that runs
 * into a limit of 24 MiB: by files that it reads over and over, and by memory that it takes. */
#include "unit.h"

#include "govern/pressure.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define LIMIT_BYTES (24 * MIB)
#define FILE_BYTES (64 * MIB)

static struct pressure pressure;
static struct cgroup_mounts mounts;
static pid_t child;
static char limits_folder[256], stalls_folder[256];

static bool put(const char *folder, const char *name, const char *text)
{
	char path[512];
	int fd;
	bool written;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	if (fd >= 0)
		close(fd);
	return written;
}

/* A group of the test's, in both hierarchies. False: this machine lets us make none. */
static bool make_groups(const char *name)
{
	char limit[32];

	cgroup_read_mounts(&mounts);
	if (geteuid() != 0 || mounts.version2.folder[0] == '\0' || mounts.memory.folder[0] == '\0')
		return false;
	snprintf(limits_folder, sizeof limits_folder, "%s/hak-test-%d-%s", mounts.memory.folder,
		 getpid(), name);
	snprintf(stalls_folder, sizeof stalls_folder, "%s/hak-test-%d-%s", mounts.version2.folder,
		 getpid(), name);
	snprintf(limit, sizeof limit, "%zu", LIMIT_BYTES);
	return mkdir(limits_folder, 0755) == 0 && mkdir(stalls_folder, 0755) == 0 &&
	       put(limits_folder, "memory.limit_in_bytes", limit);
}

static void end_child(void)
{
	if (child == 0)
		return;
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	child = 0;
}

/* A group is busy for a moment after its last process. */
static void remove_group(const char *folder)
{
	for (int i = 0; i < 500 && rmdir(folder) != 0 && errno == EBUSY; i++)
		usleep(10000);
}

static void remove_groups(void)
{
	remove_group(limits_folder);
	remove_group(stalls_folder);
}

static int set_up(void **state)
{
	(void)state;
	limits_folder[0] = stalls_folder[0] = '\0';
	child = 0;
	return pressure_init(&pressure, "/proc/pressure");
}

static int tear_down(void **state)
{
	(void)state;
	end_child();
	pressure_deinit(&pressure);
	pressure_deinit(&pressure);
	remove_groups();
	return 0;
}

/* A process in the groups, which does so once it is there. */
static void start_child(void (*action)(void))
{
	int entered[2];
	char byte;

	assert_int_equal(pipe(entered), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (!put(limits_folder, "cgroup.procs", "0") ||
		    !put(stalls_folder, "cgroup.procs", "0"))
			_exit(1);
		if (write(entered[1], "x", 1) != 1)
			_exit(1);
		action();
		_exit(0);
	}
	close(entered[1]);
	assert_int_equal(read(entered[0], &byte, 1), 1);
	close(entered[0]);
}

/* Pages of a file, more than the limit, none of which can stay. The disk is left alone after it. */
static void thrash(void)
{
	int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	volatile uint64_t sum = 0;
	unsigned char *bytes;

	alarm(30);
	if (fd < 0 || ftruncate(fd, FILE_BYTES) != 0)
		_exit(1);
	bytes = malloc(MIB);
	memset(bytes, 1, MIB);
	for (size_t i = 0; i < FILE_BYTES / MIB; i++)
		if (pwrite(fd, bytes, MIB, (off_t)(i * MIB)) != (ssize_t)MIB)
			_exit(1);
	bytes = mmap(NULL, FILE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	for (;;)
		for (size_t i = 0; i < FILE_BYTES; i += 4096)
			sum += bytes[i];
}

/* Takes memory after a while, all but some of its limit, and holds it. */
static void fill(void)
{
	size_t size = LIMIT_BYTES - LIMIT_BYTES / 16;
	char *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	alarm(30);
	usleep(300000);
	memset(bytes, 1, size);
	for (;;)
		pause();
}

static void wait_here(void)
{
	for (;;)
		pause();
}

static bool wait_for_level(uint64_t id, enum level level, int seconds)
{
	uint64_t end_ns = clock_now_ns() + (uint64_t)seconds * CLOCK_SECOND_NS;

	while (clock_now_ns() < end_ns) {
		struct pollfd ready = {.fd = pressure.epoll, .events = POLLIN};

		if (poll(&ready, 1, 200) > 0)
			pressure_wake(&pressure, clock_now_ns());
		if (pressure_find(&pressure, id)->judge.level >= level)
			return true;
	}
	return false;
}

static int count_fds(void)
{
	int count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void the_system_tells(void **state)
{
	(void)state;
	if (access("/proc/pressure/memory", W_OK) != 0)
		skip();
	assert_int_equal(pressure.source, PRESSURE_SOURCE_TRIGGER);
	assert_in_range(pressure.window_seconds, 1, 2);
	pressure_tick(&pressure, clock_now_ns());
	assert_true(pressure.system.room.limit_bytes > 0);
	assert_true(pressure_is_valid(&pressure));
}

static void a_kernel_without_it_is_no_error(void **state)
{
	struct pressure silent;

	(void)state;
	assert_int_equal(pressure_init(&silent, "/nonexistent"), 0);
	assert_int_equal(silent.source, PRESSURE_SOURCE_NONE);
	assert_int_equal(silent.source_error, ENOENT);
	for (int i = 0; i < 10; i++)
		pressure_tick(&silent, clock_now_ns());
	/* What is available is known all the same. */
	assert_true(silent.system.room.limit_bytes > 0);
	assert_int_equal(pressure_level(&silent), silent.system.judge.level);
	pressure_deinit(&silent);
}

/* epoll_ctl(2) refuses a file that cannot be waited for. */
static void what_cannot_be_followed_is_given_up(void **state)
{
	char folder[] = "/tmp/hak-test-XXXXXX", path[64];
	struct pressure refused;
	int before = count_fds(), fd;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/memory", folder);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(pressure_init(&refused, folder), 0);
	assert_int_equal(refused.source, PRESSURE_SOURCE_NONE);
	assert_int_equal(refused.source_error, EPERM);
	assert_int_equal(count_fds(), before + 1);
	pressure_deinit(&refused);
	assert_int_equal(count_fds(), before);
	unlink(path);
	rmdir(folder);
}

/* The child may have it as well. */
static void let_go_of(struct pressure_watch *watch, enum pressure_event event)
{
	if (watch->fds[event] < 0)
		return;
	epoll_ctl(pressure.epoll, EPOLL_CTL_DEL, watch->fds[event], NULL);
	close(watch->fds[event]);
	watch->fds[event] = -1;
}

static void assert_stalls_are_told(const char *name, bool by_one_trigger)
{
	struct pressure_watch *watch;
	uint64_t id;

	if (!make_groups(name))
		skip();
	start_child(thrash);
	id = pressure_watch(&pressure, child, clock_now_ns());
	assert_int_not_equal(id, 0);
	assert_string_equal(pressure_find(&pressure, id)->place.limits, limits_folder);
	assert_string_equal(pressure_find(&pressure, id)->place.stalls, stalls_folder);
	assert_int_equal(pressure_find(&pressure, id)->limits.count, 1);
	assert_true(pressure_find(&pressure, id)->fds[PRESSURE_EVENT_SOME] >= 0);
	/* The limit is told of as well: not now. */
	watch = &pressure.groups[id % PRESSURE_GROUPS_MAX];
	let_go_of(watch, PRESSURE_EVENT_LIMIT);
	if (by_one_trigger) {
		let_go_of(watch, PRESSURE_EVENT_FULL);
		let_go_of(&pressure.system, PRESSURE_EVENT_SOME);
		let_go_of(&pressure.system, PRESSURE_EVENT_FULL);
	}
	assert_true(wait_for_level(id, LEVEL_SOME, 20));
	assert_true(pressure_is_pressing(&pressure));
	assert_true(pressure.event_totals[PRESSURE_CGROUP][LEVEL_SOME] +
			    pressure.event_totals[PRESSURE_CGROUP][LEVEL_FULL] >
		    0);
	/* It is pressing no more a moment after nobody waits. */
	end_child();
	for (int i = 0; i < 40 && pressure_is_pressing(&pressure); i++) {
		usleep(100000);
		pressure_look(&pressure, clock_now_ns());
	}
	assert_false(pressure_is_pressing(&pressure));
}

static void stalls_of_a_group_are_told(void **state)
{
	(void)state;
	assert_stalls_are_told("stalls", false);
}

/* The event of the one trigger that there is, is taken by the look that wakes us. */
static void stalls_are_told_by_one_trigger(void **state)
{
	(void)state;
	assert_stalls_are_told("one", true);
}

static void a_limit_of_a_group_is_told_at_once(void **state)
{
	uint64_t id, began_ns;

	(void)state;
	if (!make_groups("limit"))
		skip();
	start_child(fill);
	began_ns = clock_now_ns();
	id = pressure_watch(&pressure, child, began_ns);
	assert_true(pressure_find(&pressure, id)->fds[PRESSURE_EVENT_LIMIT] >= 0);
	assert_int_equal(pressure_find(&pressure, id)->judge.level, LEVEL_NONE);
	assert_true(wait_for_level(id, LEVEL_SOME, 5));
	/* No tick was due: nothing else than the kernel can have told. */
	assert_int_equal(pressure.tick_count, 0);
	assert_int_equal(pressure_find(&pressure, id)->room.limit_bytes, LIMIT_BYTES);
}

/* Nothing is known of such a group any more, where the kernel does not tell of its stalls. */
static void a_limit_that_is_lifted_presses_no_more(void **state)
{
	struct pressure_watch *watch;
	uint64_t id;

	(void)state;
	if (!make_groups("lifted"))
		skip();
	start_child(fill);
	id = pressure_watch(&pressure, child, clock_now_ns());
	watch = &pressure.groups[id % PRESSURE_GROUPS_MAX];
	let_go_of(watch, PRESSURE_EVENT_SOME);
	let_go_of(watch, PRESSURE_EVENT_FULL);
	watch->place.stalls[0] = '\0';
	assert_true(wait_for_level(id, LEVEL_SOME, 5));
	assert_true(put(limits_folder, "memory.limit_in_bytes", "-1"));
	for (int i = 0; i < PRESSURE_LIMITS_TICKS; i++)
		pressure_tick(&pressure, clock_now_ns());
	assert_false(watch->judge.is_pressing);
	pressure_tick(&pressure, clock_now_ns() + LEVEL_CALM_NS);
	assert_int_equal(watch->judge.level, LEVEL_NONE);
}

/* What somebody waited for before there was a hakd is no pressure now. */
static void what_was_before_is_not_told(void **state)
{
	(void)state;
	if (pressure.source != PRESSURE_SOURCE_TRIGGER)
		skip();
	let_go_of(&pressure.system, PRESSURE_EVENT_SOME);
	pressure.system.fds[PRESSURE_EVENT_SOME] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	pressure_wake(&pressure, clock_now_ns());
	assert_int_equal(pressure.system.told, LEVEL_NONE);
	assert_int_equal(pressure.event_totals[PRESSURE_SYSTEM][LEVEL_FULL], 0);
}

static void a_group_that_vanishes_is_let_go(void **state)
{
	struct pollfd ready = {.fd = pressure.epoll, .events = POLLIN};
	int before = count_fds();
	uint64_t id;

	(void)state;
	if (!make_groups("gone"))
		skip();
	start_child(wait_here);
	id = pressure_watch(&pressure, child, clock_now_ns());
	assert_int_equal(pressure_watch(&pressure, child, clock_now_ns()), id);
	assert_int_equal(pressure.group_count, 1);
	pressure_sweep(&pressure);
	assert_true(pressure_keep(&pressure, id));
	end_child();
	remove_groups();
	for (int i = 0; i < 20 && poll(&ready, 1, 50) > 0; i++)
		pressure_wake(&pressure, clock_now_ns());
	/* It does not keep the loop awake. */
	assert_int_equal(poll(&ready, 1, 0), 0);
	assert_false(pressure_keep(&pressure, id));
	pressure_tick(&pressure, clock_now_ns());
	pressure_sweep(&pressure);
	pressure_sweep(&pressure);
	assert_false(pressure_keep(&pressure, id));
	assert_null(pressure_find(&pressure, id));
	assert_int_equal(pressure.group_count, 0);
	assert_int_equal(count_fds(), before);
}

static void groups_are_bounded(void **state)
{
	char folder[300];
	int before = count_fds();

	(void)state;
	if (!make_groups("many"))
		skip();
	start_child(wait_here);
	for (int i = 0; i <= PRESSURE_GROUPS_MAX; i++) {
		char pid[16];
		uint64_t id;

		snprintf(folder, sizeof folder, "%s/%d", stalls_folder, i);
		assert_int_equal(mkdir(folder, 0755), 0);
		snprintf(pid, sizeof pid, "%d", child);
		assert_true(put(folder, "cgroup.procs", pid));
		id = pressure_watch(&pressure, child, clock_now_ns());
		assert_int_equal(id != 0, i < PRESSURE_GROUPS_MAX);
		assert_true(pressure_is_valid(&pressure));
	}
	assert_int_equal(pressure.overflow_total, 1);
	pressure_tick(&pressure, clock_now_ns());
	pressure_sweep(&pressure);
	assert_int_equal(pressure.group_count, PRESSURE_GROUPS_MAX);
	pressure_sweep(&pressure);
	assert_int_equal(pressure.group_count, 0);
	assert_int_equal(count_fds(), before);
	assert_int_not_equal(pressure_watch(&pressure, child, clock_now_ns()), 0);
	end_child();
	for (int i = 0; i <= PRESSURE_GROUPS_MAX; i++) {
		snprintf(folder, sizeof folder, "%s/%d", stalls_folder, i);
		remove_group(folder);
	}
}

static void a_process_that_has_gone_is_in_no_group(void **state)
{
	(void)state;
	assert_int_equal(pressure_watch(&pressure, 1 << 22, clock_now_ns()), 0);
	assert_int_equal(pressure.overflow_total, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_system_tells, set_up, tear_down),
		cmocka_unit_test(a_kernel_without_it_is_no_error),
		cmocka_unit_test(what_cannot_be_followed_is_given_up),
		cmocka_unit_test_setup_teardown(stalls_of_a_group_are_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(stalls_are_told_by_one_trigger, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_limit_of_a_group_is_told_at_once, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_limit_that_is_lifted_presses_no_more, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(what_was_before_is_not_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_group_that_vanishes_is_let_go, set_up, tear_down),
		cmocka_unit_test_setup_teardown(groups_are_bounded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_process_that_has_gone_is_in_no_group, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
