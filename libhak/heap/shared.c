#include "heap/shared.h"

#include "proto/page.h"
#include "proto/superslab.h"

#include <string.h>

_Atomic(struct hak_shared *) hak_shared;

static_assert(HAK_SUPERSLAB_ROW_BYTES == HAK_PAGE_SUPERSLAB_ROW, "a row is a row");
static_assert(HAK_PAGE_SUPERSLAB_BYTES == HAK_SUPERSLAB_BYTES, "proto/ and libhak agree");
static_assert(HAK_PAGE_UNIT_BYTES == HAK_UNIT_BYTES, "proto/ and libhak agree");
static_assert(HAK_PAGE_SUPERSLABS_MAX == HAK_REGION_BYTES_HIGH / HAK_SUPERSLAB_BYTES,
	      "any region has its table");
static_assert(HAK_SUPERSLAB_WORDS == 2, "proto/superslab.h has two words of units");

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

void hak_shared_write_superslab(unsigned char *page, uint32_t superslab,
				const uint64_t used[HAK_SUPERSLAB_WORDS],
				const uint64_t free[HAK_SUPERSLAB_WORDS])
{
	uint8_t bytes[HAK_SUPERSLAB_ROW_BYTES];
	struct hak_superslab_row row = {.sequence = 0};

	memcpy(row.used, used, sizeof row.used);
	memcpy(row.free, free, sizeof row.free);
	hak_superslab_row_encode(&row, bytes);
	hak_shared_write(page, HAK_PAGE_SUPERSLABS + (size_t)superslab * HAK_PAGE_SUPERSLAB_ROW,
			 bytes, sizeof bytes);
}
