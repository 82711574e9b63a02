#include "govern/telemetry.h"

#include "base/os.h"
#include "base/policy.h"
#include "base/size_class.h"
#include "govern/attach.h"
#include "govern/limit.h"
#include "govern/purge.h"
#include "govern/stats.h"
#include "govern/watch.h"
#include "heap/budget.h"
#include "heap/tally.h"
#include "heap/thread.h"
#include "proto/mailbox.h"
#include "proto/page.h"
#include "proto/telemetry.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Numbers are written down so often; the more threads there were, the more seldom: to add one up
 * takes up to a microsecond. */
#define INTERVAL_NS ((uint64_t)10000000)
#define INTERVAL_TALLIES 128
#define INTERVALS_MAX 50

/* What one thread may hold back: the larger of these. A tally costs some 200 ns to add up, which
 * must stay small beside moving so many bytes. */
#define MOVED_BYTES_MIN ((int64_t)512 << 10)
#define MOVED_SHARE 256
#define MOVED_BYTES_PER_TALLY ((int64_t)32 << 10)

/* Whoever takes it does the work, and owns all of the below but the atomics. */
static _Atomic bool is_busy;

static _Atomic uint64_t published_ns, pause_ns = INTERVAL_NS;
static _Atomic int32_t moved_kib_max;
static _Atomic uint64_t epoch_read; /* the mailbox's, the last time that it was read */
static _Atomic bool is_trimming;

/* What this thread had moved when it last published, modulo 4 TiB, as what is of 8 bytes would take
 * too much of the threads' storage. */
#define KIB_SHIFT 10
static __thread uint32_t told_kib;

static uint32_t moved_kib(void)
{
	return (uint32_t)(hak_tally_moved() >> KIB_SHIFT);
}

static struct hak_telemetry telemetry;
static uint8_t bytes[HAK_TELEMETRY_BYTES];
static struct hak_mailbox mailbox;
static struct hak_purge_trim trim;
static uint64_t trim_request;

static void fill_classes(const struct hak_stats *stats, const struct hak_tally_sums *sums)
{
	telemetry.class_count = HAK_CLASS_COUNT + 1;
	for (unsigned i = 1; i <= HAK_CLASS_COUNT; i++) {
		uint64_t slab_count = stats->slab_count_by_class[i];

		telemetry.classes[i] = (struct hak_telemetry_class){
			.block_bytes = hak_size_classes[i].block_bytes,
			.slab_count = slab_count,
			.block_count = slab_count * hak_size_classes[i].block_count,
			.taken_count = sums->taken[i] < 0 ? 0 : (uint64_t)sums->taken[i],
		};
	}
}

static uint64_t agent_count(void)
{
	struct hak_shared *page = hak_shared_get();

	return page != NULL ? atomic_load_explicit(&page->agent_count, memory_order_relaxed) : 0;
}

static void collect(uint64_t now_ns)
{
	struct hak_stats stats;
	struct hak_tally_sums sums;
	int64_t tally_count = hak_stats_collect(&stats, &sums);
	int64_t most = (int64_t)(stats.live_bytes / MOVED_SHARE);

	uint64_t intervals = 1 + (uint64_t)tally_count / INTERVAL_TALLIES;

	atomic_store_explicit(&pause_ns,
			      INTERVAL_NS * (intervals < INTERVALS_MAX ? intervals : INTERVALS_MAX),
			      memory_order_relaxed);
	telemetry.live_bytes = stats.live_bytes;
	telemetry.cached_bytes = stats.cached_bytes;
	telemetry.free_bytes = stats.free_bytes;
	telemetry.lazyfree_bytes = stats.lazyfree_bytes;
	telemetry.metadata_bytes = stats.metadata_bytes;
	telemetry.huge_bytes = stats.huge_bytes;
	telemetry.superslab_open_count = stats.superslab_open_count;
	telemetry.superslab_peak_count = stats.superslab_peak_count;
	telemetry.superslab_opened_total = stats.superslab_opened_total;
	telemetry.returned_bytes_total = stats.returned_bytes;
	telemetry.misuse_total = stats.misuse_count;
	telemetry.refilled_bytes_total = hak_tally_not_negative(sums.refilled_bytes);
	telemetry.refaulted_bytes_total = hak_tally_not_negative(sums.refaulted_bytes);
	telemetry.allocation_failure_total = hak_budget_failure_count();
	telemetry.budget_exceeded_total = hak_limit_exceeded_count();
	telemetry.agent_count = agent_count();
	telemetry.pressure_trim_total = hak_watch_event_count();
	telemetry.updated_ns = now_ns;
	fill_classes(&stats, &sums);

	if (most < tally_count * MOVED_BYTES_PER_TALLY)
		most = tally_count * MOVED_BYTES_PER_TALLY;
	if (most < MOVED_BYTES_MIN)
		most = MOVED_BYTES_MIN;
	atomic_store_explicit(&moved_kib_max, (int32_t)(most >> KIB_SHIFT), memory_order_relaxed);
	told_kib = moved_kib();
}

static void publish(unsigned char *page)
{
	telemetry.publication_total++;
	hak_telemetry_encode(&telemetry, bytes);
	hak_shared_write(page, HAK_PAGE_TELEMETRY, bytes, sizeof bytes);
	atomic_store_explicit(&published_ns, telemetry.updated_ns, memory_order_relaxed);
}

static void attach(uint64_t now_ns)
{
	unsigned char *page = hak_attach_begin(now_ns);

	if (page == NULL)
		return;
	/* A child of a fork begins with its parent's numbers here. */
	memset(&telemetry, 0, sizeof telemetry);
	memset(&mailbox, 0, sizeof mailbox);
	atomic_store_explicit(&is_trimming, false, memory_order_relaxed);
	atomic_store_explicit(&epoch_read, 0, memory_order_relaxed);
	telemetry.version = HAK_TELEMETRY_VERSION;
	telemetry.metric_count = HAK_METRIC_COUNT;
	telemetry.pid = (uint64_t)syscall(SYS_getpid);
	telemetry.started_ns = now_ns;
	collect(now_ns);
	publish(page);
	hak_attach_finish();
}

static uint64_t epoch_of(unsigned char *page)
{
	return atomic_load_explicit(hak_shared_word(page, HAK_PAGE_MAILBOX + HAK_MAILBOX_EPOCH),
				    memory_order_relaxed);
}

/* Copies the mailbox, unless it is being changed: the next slow path tries again. */
static bool read_mailbox(unsigned char *page)
{
	_Atomic uint64_t *words = hak_shared_word(page, HAK_PAGE_MAILBOX);
	uint8_t copy[HAK_MAILBOX_BYTES];
	uint64_t before = atomic_load_explicit(&words[0], memory_order_acquire);

	for (size_t i = 0; i < HAK_MAILBOX_BYTES / sizeof(uint64_t); i++) {
		/* acquire: none of them may be read after the second look at the sequence */
		uint64_t word = atomic_load_explicit(&words[i], memory_order_acquire);

		memcpy(copy + i * sizeof word, &word, sizeof word);
	}
	if ((before & 1) != 0 || atomic_load_explicit(&words[0], memory_order_relaxed) != before)
		return false;
	hak_mailbox_decode(copy, &mailbox);
	return true;
}

static uint64_t idle_bytes(void)
{
	return telemetry.cached_bytes + telemetry.free_bytes + telemetry.lazyfree_bytes;
}

static void hear_policy(void)
{
	const struct hak_policy_values values = {
		.soft_bytes = mailbox.soft_budget_bytes,
		.hard_bytes = mailbox.hard_budget_bytes,
		.refuses = (mailbox.flags & HAK_MAILBOX_FAIL) != 0,
		.purge_level = mailbox.purge_level,
		.decay_ns = mailbox.decay_ns,
		.magazine_bytes_max = mailbox.magazine_bytes_max,
		.wants_agent = (mailbox.flags & HAK_MAILBOX_AGENT) != 0,
	};
	uint64_t before = hak_setting(&hak_policy.magazine_bytes_max);

	hak_policy_set(&values);
	hak_budget_measure_anew();
	/* Magazines that have grown beyond it begin anew. */
	if (hak_setting(&hak_policy.magazine_bytes_max) - 1 < before - 1)
		hak_thread_shed();
}

/* Notes what is asked for anew. One trim at a time: a request that comes while one is under way is
 * found when that is done. */
static void hear(unsigned char *page)
{
	if (!read_mailbox(page))
		return;
	hear_policy();
	if (atomic_load_explicit(&is_trimming, memory_order_relaxed))
		return;
	atomic_store_explicit(&epoch_read, mailbox.epoch, memory_order_relaxed);
	if (mailbox.trim_request == telemetry.trim_ack)
		return;
	trim_request = mailbox.trim_request;
	trim = (struct hak_purge_trim){
		.level = HAK_PURGE_ALL,
		.target_bytes = mailbox.trim_target_bytes != 0 ? mailbox.trim_target_bytes
							       : UINT64_MAX,
	};
	telemetry.trim_before_bytes = idle_bytes();
	atomic_store_explicit(&is_trimming, true, memory_order_relaxed);
}

static void trim_on(uint64_t now_ns)
{
	bool more = hak_purge_trim(&trim);

	collect(now_ns);
	if (more)
		return;
	telemetry.trim_ack = trim_request;
	telemetry.trim_total++;
	telemetry.trim_after_bytes = idle_bytes();
	telemetry.trim_released_bytes = trim.released_bytes;
	atomic_store_explicit(&is_trimming, false, memory_order_relaxed);
}

static void work(unsigned char *page, uint64_t now_ns)
{
	collect(now_ns);
	if (epoch_of(page) != atomic_load_explicit(&epoch_read, memory_order_relaxed))
		hear(page);
	if (atomic_load_explicit(&is_trimming, memory_order_relaxed))
		trim_on(now_ns);
	publish(page);
	if (hak_attach_is_orphan(page, now_ns))
		attach(now_ns);
}

bool hak_telemetry_is_trimming(void)
{
	/* A child of a fork may have begun as a copy in the midst of one, and has no daemon. */
	return hak_shared_page() != NULL &&
	       atomic_load_explicit(&is_trimming, memory_order_relaxed);
}

/* Not what is being written: a daemon that was killed in the midst would else call for each slow
 * path, and none can read it. */
static bool has_mail(unsigned char *page)
{
	_Atomic uint64_t *sequence = hak_shared_word(page, HAK_PAGE_MAILBOX + HAK_MAILBOX_SEQUENCE);

	return epoch_of(page) != atomic_load_explicit(&epoch_read, memory_order_relaxed) &&
	       (atomic_load_explicit(sequence, memory_order_relaxed) & 1) == 0;
}

bool hak_telemetry_has_news(unsigned char *page)
{
	int32_t moved = (int32_t)(moved_kib() - told_kib);
	int32_t most = atomic_load_explicit(&moved_kib_max, memory_order_relaxed);

	return moved > most || moved < -most ||
	       atomic_load_explicit(&is_trimming, memory_order_relaxed) || has_mail(page);
}

static bool is_due(unsigned char *page, uint64_t now_ns)
{
	if (page == NULL)
		return hak_attach_is_due(now_ns);
	/* now_ns may lie before it: another thread has published since this one read the clock. */
	return now_ns >= atomic_load_explicit(&published_ns, memory_order_relaxed) +
				 atomic_load_explicit(&pause_ns, memory_order_relaxed) ||
	       hak_telemetry_has_news(page);
}

void hak_telemetry_if_due(uint64_t now_ns)
{
	unsigned char *page = hak_shared_page();

	/* acquire, and release below: hand the state from one thread to the next */
	if (!is_due(page, now_ns) || atomic_exchange_explicit(&is_busy, true, memory_order_acquire))
		return;
	page = hak_shared_page(); /* another thread may have attached meanwhile */
	if (page == NULL)
		attach(now_ns);
	else
		work(page, now_ns);
	if (hak_attach_is_silent(now_ns))
		hak_policy_forget();
	atomic_store_explicit(&is_busy, false, memory_order_release);
}
