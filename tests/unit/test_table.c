/* Goal: what a user may have is bounded, and the table is whole whoever comes and goes.
 * Method: processes of the test, registered as if they were another user's. That user has no name
 * and no rights here: only numbers are compared. What comes over sockets: tests/daemon. */
#include "unit.h"

#include "fleet/table.h"
#include "proto/page.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOMEBODY ((uid_t)4242)
#define PROCESSES_MAX (ACCOUNT_CLIENTS_MAX + 1)

static struct table table;
static pid_t processes[PROCESSES_MAX];
static size_t process_count;

static int set_up(void **state)
{
	(void)state;
	process_count = 0;
	return table_init(&table);
}

static void end_processes(void)
{
	for (size_t i = 0; i < process_count; i++)
		kill(processes[i], SIGKILL);
	for (size_t i = 0; i < process_count; i++)
		waitpid(processes[i], NULL, 0);
	process_count = 0;
}

static int tear_down(void **state)
{
	(void)state;
	end_processes();
	table_deinit(&table);
	return 0;
}

static pid_t start_process(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		for (;;)
			pause();
	processes[process_count++] = pid;
	return pid;
}

static int make_page(void)
{
	int fd = memfd_create("hak", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)hak_page_bytes(1)), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL), 0);
	return fd;
}

static enum registration enter(pid_t pid, uid_t uid, int memfd)
{
	const struct client_papers papers = {
		.hello = {.version = 1, .bytes = HAK_HELLO_BYTES, .superslab_count = 1},
		.pid = pid,
		.uid = uid,
		.pidfd = (int)syscall(SYS_pidfd_open, pid, 0),
		.memfd = memfd,
	};
	const char *why;

	return table_register(&table, &papers, clock_now_ns(), &why);
}

static void one_user_has_so_many(void **state)
{
	(void)state;
	for (int i = 0; i < ACCOUNT_CLIENTS_MAX; i++)
		assert_int_equal(enter(start_process(), SOMEBODY, make_page()),
				 REGISTRATION_ACCEPTED);
	assert_int_equal(enter(start_process(), SOMEBODY, make_page()), REGISTRATION_LIMIT);
	/* One of those that are there already takes its own place. */
	assert_int_equal(enter(processes[3], SOMEBODY, make_page()), REGISTRATION_ACCEPTED);
	/* Root has no such limit, another user has its own. */
	assert_int_equal(enter(processes[ACCOUNT_CLIENTS_MAX], 0, make_page()),
			 REGISTRATION_ACCEPTED);
	assert_int_equal(table.client_count, ACCOUNT_CLIENTS_MAX + 1);
	assert_true(table_is_valid(&table));
	end_processes();
	for (int i = 0; i < 100 && table.client_count > 0; i++)
		table_reap(&table, clock_now_ns());
	assert_int_equal(table.client_count, 0);
	assert_true(table_is_valid(&table));
}

static void a_user_registers_so_often(void **state)
{
	uint64_t now_ns = clock_now_ns();

	(void)state;
	for (int i = 0; i < ACCOUNT_BURST; i++)
		assert_true(table_admit(&table, SOMEBODY, now_ns));
	assert_false(table_admit(&table, SOMEBODY, now_ns));
	assert_true(table_admit(&table, SOMEBODY + 1, now_ns));
	now_ns += CLOCK_SECOND_NS + CLOCK_SECOND_NS / 100;
	for (int i = 0; i < ACCOUNT_RATE; i++)
		assert_true(table_admit(&table, SOMEBODY, now_ns));
	assert_false(table_admit(&table, SOMEBODY, now_ns));
	for (int i = 0; i < 10 * ACCOUNT_BURST; i++)
		assert_true(table_admit(&table, 0, now_ns));
	/* Who has been quiet for long is forgotten, with a full purse. */
	table_tick(&table, now_ns + 100 * CLOCK_SECOND_NS);
	assert_null(table.accounts);
}

static void users_are_bounded(void **state)
{
	uint64_t now_ns = clock_now_ns();

	(void)state;
	for (uid_t uid = 1; uid <= ACCOUNTS_MAX; uid++)
		assert_true(table_admit(&table, uid, now_ns));
	assert_false(table_admit(&table, ACCOUNTS_MAX + 1, now_ns));
	assert_true(table_admit(&table, 1, now_ns));
	assert_true(table_admit(&table, 0, now_ns));
}

/* Processes that have another address space than the page's: this test's own. */
static void who_does_not_map_its_page_is_dropped(void **state)
{
	uint64_t later_ns;

	(void)state;
	/* Of our own user: of others hakd does not look. */
	assert_int_equal(enter(start_process(), geteuid(), make_page()), REGISTRATION_ACCEPTED);
	assert_int_equal(enter(start_process(), geteuid(), make_page()), REGISTRATION_ACCEPTED);
	later_ns = clock_now_ns() + TABLE_CHECK_NS;
	assert_null(table_trim(&table, processes[0], 0, later_ns));
	assert_int_equal(table.client_count, 1);
	table_tick(&table, later_ns - TABLE_CHECK_NS);
	assert_int_equal(table.client_count, 1);
	table_tick(&table, later_ns);
	assert_int_equal(table.client_count, 0);
	assert_true(table_is_valid(&table));
}

static void an_ended_process_is_no_client(void **state)
{
	pid_t pid = start_process();
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	siginfo_t info;

	(void)state;
	kill(pid, SIGKILL);
	assert_int_equal(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(enter(pid, SOMEBODY, make_page()), REGISTRATION_ACCEPTED);
	assert_int_equal(table.client_count, 0);
	close(pidfd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_user_has_so_many, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_user_registers_so_often, set_up, tear_down),
		cmocka_unit_test_setup_teardown(users_are_bounded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(who_does_not_map_its_page_is_dropped, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(an_ended_process_is_no_client, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
