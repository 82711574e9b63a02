/* Goal: a hakd that follows another knows all that the other knew of the fleet; nothing is counted
 * twice or lost, and a process that is another one by now gets nothing of it.
 * Method: two tables and a state between them; the client is this process, with a page that it
 * maps, and some whose processes have ended. */
#include "unit.h"

#include "base/log.h"
#include "fleet/record.h"
#include "proto/page.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define REGION ((uint64_t)1 << 40)

static struct table first, second;
static struct record first_record, second_record;
static struct state first_state, second_state;
static int state_fd, page_fd, given_fd;
static void *mapping;

static int take_page(void *context, dev_t device, ino_t inode)
{
	int fd = given_fd;
	struct stat status;

	(void)context;
	if (fd < 0)
		return fd;
	assert_int_equal(fstat(fd, &status), 0);
	assert_true(status.st_dev == device && status.st_ino == inode);
	given_fd = -1;
	return fd;
}

static int make_page(void)
{
	int fd = memfd_create("hak", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)hak_page_bytes(1)), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL), 0);
	return fd;
}

static void publish(int fd, uint64_t returned_bytes, uint64_t publications)
{
	static uint64_t sequence;
	struct hak_telemetry telemetry = {
		.sequence = sequence += 2,
		.version = HAK_TELEMETRY_VERSION,
		.metric_count = HAK_METRIC_COUNT,
		.live_bytes = 1000,
		.returned_bytes_total = returned_bytes,
		.publication_total = publications,
	};
	uint8_t bytes[HAK_TELEMETRY_BYTES];

	hak_telemetry_encode(&telemetry, bytes);
	assert_int_equal(pwrite(fd, bytes, sizeof bytes, HAK_PAGE_TELEMETRY), sizeof bytes);
}

static struct client *enter(struct table *table, pid_t pid, int memfd, uint64_t region_base)
{
	const struct client_papers papers = {
		.hello = {.version = 1,
			  .bytes = HAK_HELLO_BYTES,
			  .superslab_count = 1,
			  .region_base = region_base},
		.pid = pid,
		.pidfd = (int)syscall(SYS_pidfd_open, pid, 0),
		.memfd = dup(memfd),
	};
	const char *why;

	assert_int_equal(table_register(table, &papers, clock_now_ns(), &why),
			 REGISTRATION_ACCEPTED);
	return table_find(table, pid);
}

static int set_up(void **state)
{
	(void)state;
	table_init(&first);
	table_init(&second);
	state_init(&first_state);
	state_init(&second_state);
	first_record = (struct record){.table = &first};
	second_record = (struct record){.table = &second, .take_page = take_page};
	record_keep(&first_record, &first_state);
	record_keep(&second_record, &second_state);
	state_fd = memfd_create("state", MFD_CLOEXEC);
	assert_int_equal(state_take(&first_state, dup(state_fd)), STATE_NONE);
	page_fd = make_page();
	given_fd = -1;
	mapping = mmap(NULL, hak_page_bytes(1), PROT_READ, MAP_SHARED, page_fd, 0);
	return mapping == MAP_FAILED;
}

static int tear_down(void **state)
{
	(void)state;
	if (mapping != NULL)
		munmap(mapping, hak_page_bytes(1));
	close(page_fd);
	close(state_fd);
	state_deinit(&first_state);
	state_deinit(&second_state);
	table_deinit(&first);
	table_deinit(&second);
	return 0;
}

/* The first hakd is killed, and the second one begins. */
static void follow(void)
{
	state_save(&first_state);
	assert_int_equal(state_take(&second_state, dup(state_fd)), STATE_WHOLE);
	assert_true(table_is_valid(&second));
}

static uint64_t total_of(struct table *table, enum hak_metric metric)
{
	uint64_t sum[HAK_METRIC_COUNT];

	table_sum(table, sum);
	return sum[metric];
}

static void a_client_goes_on_with_its_page(void **state)
{
	static const struct rows_memo memo = {.superslab = 0, .bytes = 4096};
	struct client *client, *again;
	struct client_wishes wishes = {.budget = {.soft_bytes = 77 << 20}};

	(void)state;
	publish(page_fd, 500, 3);
	client = enter(&first, getpid(), page_fd, REGION);
	client->registered -= 1000;
	client->registered_ns -= 1000;
	client->history.turns[HISTORY_REMOTE] = (struct history_turn){.acted_ns = 7, .backoff = 3};
	client->history.group_id = 12;
	client->release_request = 5;
	client_wish(client, &wishes);
	assert_true(rows_remember(&client->rows, &memo));
	given_fd = dup(page_fd);
	follow();

	again = table_find(&second, getpid());
	assert_non_null(again);
	assert_int_equal(given_fd, -1);
	assert_int_equal(again->registered, client->registered);
	assert_int_equal(again->registered_ns, client->registered_ns);
	assert_memory_equal(&again->identity, &client->identity, sizeof client->identity);
	assert_memory_equal(again->counted, client->counted, sizeof client->counted);
	assert_memory_equal(&again->mailbox, &client->mailbox, sizeof client->mailbox);
	assert_memory_equal(again->history.turns, client->history.turns,
			    sizeof client->history.turns);
	assert_int_equal(again->history.group_id, 0);
	assert_int_equal(again->release_request, 5);
	assert_string_equal(again->group->name, client->group->name);
	assert_int_equal(again->rows.returned_bytes, 4096);
	assert_int_equal(total_of(&second, HAK_METRIC_returned_bytes_total), 500);
	assert_int_equal(total_of(&second, HAK_METRIC_live_bytes), 1000);
}

/* As libhak registers again: a new page, of which two counters begin anew. */
static void a_client_goes_on_when_it_registers_again(void **state)
{
	struct client *again;
	time_t registered;
	int other = make_page();

	(void)state;
	publish(page_fd, 500, 3);
	registered = enter(&first, getpid(), page_fd, REGION)->registered -= 1000;
	follow();
	assert_null(table_find(&second, getpid()));
	assert_int_equal(total_of(&second, HAK_METRIC_returned_bytes_total), 500);
	assert_int_equal(total_of(&second, HAK_METRIC_live_bytes), 0);

	publish(other, 600, 1);
	again = enter(&second, getpid(), other, REGION);
	assert_int_equal(again->registered, registered);
	assert_int_equal(total_of(&second, HAK_METRIC_returned_bytes_total), 600);
	assert_int_equal(total_of(&second, HAK_METRIC_publication_total), 4);
	table_drop(&second, again, clock_now_ns());
	assert_int_equal(total_of(&second, HAK_METRIC_returned_bytes_total), 600);
	close(other);
}

static void another_heap_is_counted_beside_it(void **state)
{
	(void)state;
	publish(page_fd, 500, 3);
	enter(&first, getpid(), page_fd, REGION);
	follow();
	/* After an exec: the region lies elsewhere. */
	publish(page_fd, 600, 3);
	enter(&second, getpid(), page_fd, REGION * 2);
	assert_int_equal(total_of(&second, HAK_METRIC_returned_bytes_total), 1100);
}

/* Twice killed before the client came again. */
static void who_is_expected_stays_so(void **state)
{
	struct table third;
	struct record record = {.table = &third};
	struct state state_of_third;

	(void)state;
	publish(page_fd, 500, 3);
	enter(&first, getpid(), page_fd, REGION);
	follow();
	state_save(&second_state);
	table_init(&third);
	state_init(&state_of_third);
	record_keep(&record, &state_of_third);
	assert_int_equal(state_take(&state_of_third, dup(state_fd)), STATE_WHOLE);
	assert_int_equal(total_of(&third, HAK_METRIC_returned_bytes_total), 500);
	enter(&third, getpid(), page_fd, REGION);
	assert_int_equal(total_of(&third, HAK_METRIC_returned_bytes_total), 500);
	state_deinit(&state_of_third);
	table_deinit(&third);
}

static pid_t start_child(void)
{
	pid_t child = fork();

	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	assert_true(child > 0);
	return child;
}

static void end_child(pid_t child)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

static void who_has_ended_leaves_its_counters(void **state)
{
	pid_t child = start_child();

	(void)state;
	publish(page_fd, 500, 3);
	enter(&first, child, page_fd, REGION);
	end_child(child);
	given_fd = -1;
	follow();
	assert_int_equal(second.client_count, 0);
	assert_int_equal(total_of(&second, HAK_METRIC_returned_bytes_total), 500);
	assert_int_equal(HASH_COUNT(second.pasts.by_pid), 1);
	table_tick(&second, clock_now_ns() + PASTS_LOOK_NS);
	assert_int_equal(HASH_COUNT(second.pasts.by_pid), 0);
	assert_int_equal(total_of(&second, HAK_METRIC_returned_bytes_total), 500);
}

/* The page is there, and so is a process of that number. */
static void another_process_is_not_taken_for_it(void **state)
{
	(void)state;
	publish(page_fd, 500, 3);
	enter(&first, getpid(), page_fd, REGION)->identity.start_ticks--;
	given_fd = dup(page_fd);
	follow();
	assert_null(table_find(&second, getpid()));
	assert_int_equal(fcntl(given_fd, F_GETFD), -1);
	enter(&second, getpid(), page_fd, REGION);
	assert_int_equal(total_of(&second, HAK_METRIC_returned_bytes_total), 1000);
}

/* It does not map the page any more: another program. */
static void another_address_space_is_not_taken_for_it(void **state)
{
	pid_t child;

	(void)state;
	munmap(mapping, hak_page_bytes(1));
	mapping = NULL;
	child = start_child(); /* not this process: hakd maps the page as well */
	enter(&first, child, page_fd, REGION);
	given_fd = dup(page_fd);
	follow();
	assert_null(table_find(&second, child));
	assert_true(table_is_valid(&second));
	end_child(child);
}

static void budgets_and_groups_go_on(void **state)
{
	const struct override_key key = {.group = "cache"};
	const struct override wanted = {.key = key,
					.has_soft = true,
					.soft_bytes = 5 << 20,
					.expires_ns = clock_now_ns() + CLOCK_SECOND_NS};
	const uint64_t counted[HAK_METRIC_COUNT] = {[HAK_METRIC_trim_total] = 9};
	const struct override *found;
	struct group *group;

	(void)state;
	assert_true(overrides_set(&first.allot.overrides, &wanted));
	group = groups_join(&first.groups, "cache", 0);
	group->ledger.exceeded_ns = 6;
	group->released_bytes = 8;
	group_leave(group, counted, 123);
	table_count(&first, REGISTRATION_INVALID);
	first.torn_total = 3;
	follow();

	found = overrides_find(&second.allot.overrides, &key);
	assert_non_null(found);
	assert_true(found->has_soft && !found->has_hard);
	assert_int_equal(found->soft_bytes, wanted.soft_bytes);
	assert_int_equal(found->expires_ns, wanted.expires_ns);
	group = groups_find(&second.groups, "cache");
	assert_non_null(group);
	assert_int_equal(group->process_count, 0);
	assert_int_equal(group->empty_since_ns, 123);
	assert_int_equal(group->departed[HAK_METRIC_trim_total], 9);
	assert_int_equal(group->ledger.exceeded_ns, 6);
	assert_int_equal(group->released_bytes, 8);
	assert_int_equal(second.registrations[REGISTRATION_INVALID], 1);
	assert_int_equal(second.torn_total, 3);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(a_client_goes_on_with_its_page),
		CASE(a_client_goes_on_when_it_registers_again),
		CASE(another_heap_is_counted_beside_it),
		CASE(who_is_expected_stays_so),
		CASE(who_has_ended_leaves_its_counters),
		CASE(another_process_is_not_taken_for_it),
		CASE(another_address_space_is_not_taken_for_it),
		CASE(budgets_and_groups_go_on),
	};

	log_init(LOG_CRIT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
