#include "heap/dump.h"

#include "base/os.h"
#include "base/policy.h"
#include "heap/region.h"

#define SUPERSLABS_MAX (HAK_REGION_BYTES_HIGH / HAK_SUPERSLAB_BYTES)

/* Guarded by the pool's lock. Pages of the words are touched as the heap grows. */
static struct {
	uint32_t gap_count;
	uint64_t breathes_until_ns;
	uint64_t out[SUPERSLABS_MAX / HAK_WORD_BITS];
} dump;

static bool is_out(uint32_t superslab)
{
	return (dump.out[superslab / HAK_WORD_BITS] >> superslab % HAK_WORD_BITS & 1) != 0;
}

static bool is_lower_out(uint32_t superslab)
{
	return superslab != 0 && is_out(superslab - 1);
}

static bool is_higher_out(uint32_t superslab)
{
	return superslab + 1 < hak_region.superslab_count && is_out(superslab + 1);
}

static bool advise(uint32_t first, uint32_t end, bool dumped)
{
	char *start = (char *)hak_region.base + ((size_t)first << HAK_SUPERSLAB_SHIFT);

	return hak_os_dump(start, (size_t)(end - first) << HAK_SUPERSLAB_SHIFT, dumped);
}

static void leave_out(uint32_t superslab)
{
	uint32_t neighbours = (uint32_t)is_lower_out(superslab) + is_higher_out(superslab);

	if (is_out(superslab) || (neighbours == 0 && dump.gap_count == HAK_DUMP_GAPS_MAX))
		return;
	if (!advise(superslab, superslab + 1, false))
		return;
	dump.out[superslab / HAK_WORD_BITS] |= (uint64_t)1 << superslab % HAK_WORD_BITS;
	dump.gap_count += 1u - neighbours;
}

/* Puts [first, end), a part of one gap, into dumps again. False: the kernel refused. */
static bool take_in(uint32_t first, uint32_t end)
{
	if (!advise(first, end, true))
		return false;
	dump.gap_count += (uint32_t)is_lower_out(first) + is_higher_out(end - 1) - 1u;
	for (; first < end; first++)
		dump.out[first / HAK_WORD_BITS] &= ~((uint64_t)1 << first % HAK_WORD_BITS);
	return true;
}

void hak_dump_note_empty(uint32_t superslab, uint64_t now_ns)
{
	if (now_ns >= dump.breathes_until_ns)
		leave_out(superslab);
}

void hak_dump_note_returned(uint32_t superslab)
{
	leave_out(superslab);
}

void hak_dump_note_used(uint32_t superslab, bool was_returned)
{
	uint32_t first = superslab, end = superslab + 1;

	if (hak_likely(!is_out(superslab)))
		return;
	if (!was_returned)
		dump.breathes_until_ns = hak_os_now_ns() + hak_policy_decay_ns();
	/* One gap would become two, and there are enough: the rest of it comes along. */
	while (is_lower_out(superslab) && dump.gap_count == HAK_DUMP_GAPS_MAX &&
	       is_higher_out(end - 1))
		end++;
	if (take_in(first, end))
		return;
	/* The process has no mapping to spare; none is split where all of a gap goes. */
	while (is_lower_out(first))
		first--;
	while (is_higher_out(end - 1))
		end++;
	(void)take_in(first, end);
}

bool hak_dump_has(uint32_t superslab)
{
	return !is_out(superslab);
}

uint32_t hak_dump_gap_count(void)
{
	return dump.gap_count;
}

bool hak_dump_is_valid(void)
{
	uint32_t gap_count = 0;

	for (uint32_t i = 0; i < hak_region.superslab_count; i++)
		gap_count += is_out(i) && !is_lower_out(i);
	return gap_count == dump.gap_count && gap_count <= HAK_DUMP_GAPS_MAX;
}
