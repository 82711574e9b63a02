#include "base/misuse.h"

#include "base/report.h"
#include "base/settings.h"

#include <stdatomic.h>
#include <stdlib.h>

static _Atomic uint64_t misuse_count;

static void put_block(struct hak_line *line, const char *before, const struct hak_misuse *misuse)
{
	hak_line_put(line, before);
	hak_line_put(line, misuse->class_idx != 0 ? "block of " : "run or mapping of ");
	hak_line_put_number(line, misuse->bytes);
	hak_line_put(line, " bytes");
	if (misuse->class_idx != 0) {
		hak_line_put(line, " (class ");
		hak_line_put_number(line, misuse->class_idx);
		hak_line_put(line, ")");
	}
}

static void put_reason(struct hak_line *line, const struct hak_misuse *misuse)
{
	switch (misuse->kind) {
	case HAK_MISUSE_DOUBLE_FREE:
		put_block(line, ", a ", misuse);
		break;
	case HAK_MISUSE_MISALIGNED:
		hak_line_put(line, ", which is not aligned to 16 bytes");
		break;
	case HAK_MISUSE_INTERIOR:
		put_block(line, ", which lies inside a ", misuse);
		break;
	case HAK_MISUSE_NOT_IN_USE:
		hak_line_put(line, ", which is not in use: freed before, or never given out");
		break;
	case HAK_MISUSE_FOREIGN:
		hak_line_put(line, ", which is not memory of this allocator, or no longer");
		break;
	case HAK_MISUSE_OVERRUN:
		put_block(line, ", a ", misuse);
		hak_line_put(line, ", which was written to behind its end");
		break;
	case HAK_MISUSE_WRITTEN:
		put_block(line, ", a ", misuse);
		hak_line_put(line, ", which was written to after its free");
		break;
	case HAK_MISUSE_SIZE:
		put_block(line, ", a ", misuse);
		hak_line_put(line, ", which was not allocated for ");
		hak_line_put_number(line, misuse->said_bytes);
		if (misuse->said_alignment > 1) {
			hak_line_put(line, " aligned to ");
			hak_line_put_number(line, misuse->said_alignment);
		}
		break;
	}
}

void hak_misuse_report(const struct hak_misuse *misuse)
{
	struct hak_line line;

	hak_line_begin(&line);
	if (misuse->kind == HAK_MISUSE_DOUBLE_FREE)
		hak_line_put(&line, "double ");
	hak_line_put(&line, misuse->call);
	hak_line_put(&line, " of ");
	hak_line_put_address(&line, misuse->address);
	put_reason(&line, misuse);
	hak_line_write(&line);
	if (hak_settings.misuse == HAK_ON_MISUSE_ABORT)
		hak_report_abort();
	atomic_fetch_add_explicit(&misuse_count, 1, memory_order_relaxed);
}

uint64_t hak_misuse_count(void)
{
	return atomic_load_explicit(&misuse_count, memory_order_relaxed);
}
