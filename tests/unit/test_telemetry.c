/* Goal: a slow path looks for numbers and mail where there may be some, and only then: not again
 * and again for what has been told, and not for what a daemon was killed in the midst of writing.
 * What the numbers are: tests/attach.
 * Method: a page of the test's own, and what a thread has moved made up. */
#include "unit.h"

#include "base/os.h"
#include "govern/telemetry.h"
#include "heap/pool.h"
#include "heap/region.h"
#include "heap/shared.h"
#include "heap/tally.h"
#include "heap/thread.h"
#include "proto/mailbox.h"
#include "proto/page.h"

#include <hak/hak.h>
#include <sys/mman.h>

#define TIB ((int64_t)1 << 40)

static struct hak_shared shared;
static unsigned char *page;

static int set_up(void **state)
{
	(void)state;
	hak_free(hak_malloc(1)); /* the heap is born */
	page = mmap(NULL, hak_page_bytes(hak_region.superslab_count_max), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	atomic_store(&hak_shared, &shared);
	hak_pool_publish(page);
	return page == MAP_FAILED;
}

static void write_word(size_t offset, uint64_t value)
{
	atomic_store(hak_shared_word(page, HAK_PAGE_MAILBOX + offset), value);
}

static void look(void)
{
	struct hak_thread *thread = hak_thread_enter();

	hak_telemetry_if_due(hak_os_now_ns());
	hak_thread_leave(thread);
}

static void mail_is_read_once_it_is_whole(void **state)
{
	(void)state;
	look();
	assert_false(hak_telemetry_has_news(page));
	write_word(HAK_MAILBOX_SEQUENCE, 1);
	write_word(HAK_MAILBOX_EPOCH, 1);
	assert_false(hak_telemetry_has_news(page));
	write_word(HAK_MAILBOX_SEQUENCE, 2);
	assert_true(hak_telemetry_has_news(page));
	look();
	assert_false(hak_telemetry_has_news(page));
}

static void what_has_moved_is_told_once(void **state)
{
	static const int64_t steps[] = {TIB / 1024, -TIB / 1024, TIB, TIB, TIB, -3 * TIB};

	(void)state;
	for (size_t i = 0; i < UNIT_COUNT(steps); i++) {
		hak_tally_add_huge(steps[i]);
		assert_true(hak_telemetry_has_news(page));
		look();
		assert_false(hak_telemetry_has_news(page));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mail_is_read_once_it_is_whole),
		cmocka_unit_test(what_has_moved_is_told_once),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
