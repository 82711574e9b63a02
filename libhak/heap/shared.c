#include "heap/shared.h"

#include "base/bitmap.h"
#include "base/lock.h"
#include "base/os.h"
#include "base/size_class.h"
#include "heap/control.h"
#include "proto/mailbox.h"
#include "proto/page.h"
#include "proto/superslab.h"

#include <endian.h>
#include <string.h>

HAK_EARLY _Atomic(struct hak_shared *) hak_shared;

static_assert(HAK_SUPERSLAB_ROW_BYTES == HAK_PAGE_SUPERSLAB_ROW, "a row is a row");
static_assert(HAK_PAGE_SUPERSLAB_BYTES == HAK_SUPERSLAB_BYTES, "proto/ and libhak agree");
static_assert(HAK_PAGE_UNIT_BYTES == HAK_UNIT_BYTES, "proto/ and libhak agree");
static_assert(HAK_PAGE_SUPERSLABS_MAX == HAK_REGION_BYTES_HIGH / HAK_SUPERSLAB_BYTES,
	      "any region has its table");
static_assert(HAK_SUPERSLAB_WORDS == 2, "proto/superslab.h has two words of units");

/* Pages as proto/ counts them. */
#define PAGE_SHIFT 12
#define UNIT_PAGES (HAK_UNIT_BYTES >> PAGE_SHIFT)
#define WORD_UNITS (HAK_WORD_BITS / UNIT_PAGES) /* of which one word has the pages */
#define ROW_WORDS (HAK_SUPERSLAB_UNITS / WORD_UNITS)

static_assert(sizeof((struct hak_superslab_row *)0)->lazyfree == ROW_WORDS * sizeof(uint64_t),
	      "a bit for each page");
static_assert(HAK_SLAB_UNITS_MAX * UNIT_PAGES <= HAK_WORD_BITS, "a word has a slab's pages");

/* Guards all rows of the page; taken inside POOL or alone. */
static struct hak_lock row_lock = HAK_LOCK_OF(HAK_LOCK_ROW);

static size_t row_offset(uint32_t superslab)
{
	return HAK_PAGE_SUPERSLABS + (size_t)superslab * HAK_PAGE_SUPERSLAB_ROW;
}

/* Rows of the page whose memory is there. POOL guards it; others look. */
static _Atomic uint32_t row_count;

void hak_shared_begin_rows(void)
{
	atomic_store_explicit(&row_count, 0, memory_order_relaxed);
}

/* With all before it. */
static bool has_row(unsigned char *page, uint32_t superslab)
{
	uint32_t count = atomic_load_explicit(&row_count, memory_order_relaxed);
	size_t page_mask = hak_os_page_bytes() - 1;

	if (hak_likely(superslab < count))
		return true;
	size_t start = row_offset(count) & ~page_mask;
	size_t end = (row_offset(superslab + 1) + page_mask) & ~page_mask;

	if (!hak_os_populate(page + start, end - start))
		return false;
	/* seq_cst: as the giving away in the header, of these rows */
	atomic_store_explicit(&row_count,
			      (uint32_t)((end - HAK_PAGE_SUPERSLABS) / HAK_PAGE_SUPERSLAB_ROW),
			      memory_order_seq_cst);
	return true;
}

uint64_t hak_shared_reclaimed_ns(void)
{
	unsigned char *page = hak_shared_page();

	if (page == NULL)
		return 0;
	return le64toh(atomic_load_explicit(
		hak_shared_word(page, HAK_PAGE_MAILBOX + HAK_MAILBOX_RECLAIMED),
		memory_order_relaxed));
}

void hak_shared_write(unsigned char *page, size_t offset, const uint8_t *bytes, size_t byte_count)
{
	_Atomic uint64_t *words = hak_shared_word(page, offset);
	uint64_t sequence = atomic_load_explicit(&words[0], memory_order_relaxed) | 1;

	/* release, each of them: no word may be seen before the odd number is, nor the even number
	 * before the words. The reader is another process. */
	atomic_store_explicit(&words[0], sequence, memory_order_release);
	for (size_t i = 1; i < byte_count / sizeof(uint64_t); i++) {
		uint64_t word;

		memcpy(&word, bytes + i * sizeof word, sizeof word);
		atomic_store_explicit(&words[i], word, memory_order_release);
	}
	atomic_store_explicit(&words[0], sequence + 1, memory_order_release);
}

static void read_row(unsigned char *page, uint32_t superslab, struct hak_superslab_row *row)
{
	_Atomic uint64_t *words = hak_shared_word(page, row_offset(superslab));
	uint8_t bytes[HAK_SUPERSLAB_ROW_BYTES];

	for (size_t i = 0; i < sizeof bytes / sizeof(uint64_t); i++) {
		uint64_t word = atomic_load_explicit(&words[i], memory_order_relaxed);

		memcpy(bytes + i * sizeof word, &word, sizeof word);
	}
	hak_superslab_row_decode(bytes, row);
}

static void write_row(unsigned char *page, uint32_t superslab, const struct hak_superslab_row *row)
{
	uint8_t bytes[HAK_SUPERSLAB_ROW_BYTES];

	HAK_ASSERT(hak_lock_is_mine(&row_lock));
	hak_superslab_row_encode(row, bytes);
	hak_shared_write(page, row_offset(superslab), bytes, sizeof bytes);
}

/* The first `count` bits, each of them `HAK_WORD_BITS / count` times or less. */
static uint64_t spread(uint64_t bits, unsigned count, unsigned times)
{
	uint64_t result = 0;

	for (unsigned i = 0; i < count; i++)
		if ((bits >> i & 1) != 0)
			result |= hak_bitmap_mask(i * times, times);
	return result;
}

/* All pages of these units that word `word` of a row has. */
static uint64_t pages_of(const uint64_t units[HAK_SUPERSLAB_WORDS], unsigned word)
{
	unsigned first = word * (unsigned)WORD_UNITS;
	uint64_t bits = units[first / HAK_WORD_BITS] >> first % HAK_WORD_BITS;

	if ((bits & hak_bitmap_mask(0, WORD_UNITS)) == 0)
		return 0;
	return spread(bits, WORD_UNITS, UNIT_PAGES);
}

/* The marks of a slab, whatever the size of the system's pages. 0 for all units but the first. */
static uint64_t marks_of(uint32_t unit)
{
	/* seq_cst: see the header */
	uint64_t pages = atomic_load_explicit(&hak_control_slab(unit)->lazy_pages,
					      memory_order_seq_cst);
	unsigned times = (unsigned)(hak_os_page_bytes() >> PAGE_SHIFT);

	if (hak_likely(pages == 0) || times == 1)
		return pages;
	return spread(pages, HAK_WORD_BITS / times, times);
}

/* Puts pages from a unit on into a row, in place of those that `mask` has. */
static void put_pages(struct hak_superslab_row *row, uint32_t unit, uint64_t mask, uint64_t pages)
{
	unsigned first = unit % (unsigned)HAK_SUPERSLAB_UNITS * (unsigned)UNIT_PAGES;
	unsigned word = first / HAK_WORD_BITS, shift = first % HAK_WORD_BITS;

	row->lazyfree[word] = (row->lazyfree[word] & ~(mask << shift)) | pages << shift;
	if (shift != 0 && word + 1 < ROW_WORDS) {
		unsigned rest = HAK_WORD_BITS - shift;

		row->lazyfree[word + 1] = (row->lazyfree[word + 1] & ~(mask >> rest)) |
					  pages >> rest;
	}
}

bool hak_shared_write_superslab(unsigned char *page, uint32_t superslab,
				const struct hak_shared_units *units, bool is_new)
{
	uint32_t first = superslab * (uint32_t)HAK_SUPERSLAB_UNITS;
	struct hak_superslab_row row;
	uint64_t kept[HAK_SUPERSLAB_WORDS];

	if (!has_row(page, superslab))
		return false;
	hak_lock_take(&row_lock);
	read_row(page, superslab, &row);
	for (unsigned i = 0; i < HAK_SUPERSLAB_WORDS; i++) {
		uint64_t used = ~units->free[i];

		kept[i] = is_new ? 0 : row.used[i] & used;
		row.used[i] = used;
		row.free[i] = units->free[i] & ~units->untouched[i];
	}
	for (unsigned i = 0; i < ROW_WORDS; i++)
		row.lazyfree[i] = (row.lazyfree[i] & pages_of(kept, i)) | pages_of(units->lazy, i);
	for (uint32_t unit = first; is_new && unit < first + HAK_SUPERSLAB_UNITS; unit++)
		put_pages(&row, unit, marks_of(unit), marks_of(unit));
	write_row(page, superslab, &row);
	hak_lock_give(&row_lock);
	return true;
}

void hak_shared_write_slab(const struct hak_slab *slab)
{
	unsigned char *page = hak_shared_page();

	if (hak_likely(page == NULL))
		return;
	size_t offset = (size_t)((const char *)slab - hak_region.slab_descriptors);
	uint32_t unit = (uint32_t)(offset / HAK_SLAB_DESCRIPTOR_BYTES);
	uint32_t superslab = unit / (uint32_t)HAK_SUPERSLAB_UNITS;
	unsigned unit_count = hak_size_classes[hak_region_class(unit)].unit_count;
	struct hak_superslab_row row;

	/* Not there yet: who gives it away sees our marks. seq_cst: see the header */
	if (superslab >= atomic_load_explicit(&row_count, memory_order_seq_cst))
		return;
	hak_lock_take(&row_lock);
	read_row(page, superslab, &row);
	put_pages(&row, unit, hak_bitmap_mask(0, unit_count * (unsigned)UNIT_PAGES),
		  marks_of(unit));
	write_row(page, superslab, &row);
	hak_lock_give(&row_lock);
}
