/* layout.c - for debuggers alone: macros leave no trace in debug information, so the constants by
 * which a core file is read (scripts/gdb/hak.py) stand here as data. Everything else is in the
 * types. Nothing in libhak reads it. */
#include "heap/control.h"

const struct hak_layout {
	uint64_t unit_bytes;
	uint64_t superslab_bytes;
	uint64_t grain_bytes;
	uint64_t slab_descriptor_bytes;
	uint64_t class_count;
	uint64_t class_run_head;
	uint64_t class_run_tail;
	uint64_t control_count_mask;
	uint64_t control_class_shift;
	uint64_t control_slab;
	uint64_t control_run;
} hak_layout = {
	.unit_bytes = HAK_UNIT_BYTES,
	.superslab_bytes = HAK_SUPERSLAB_BYTES,
	.grain_bytes = HAK_GRAIN_BYTES,
	.slab_descriptor_bytes = HAK_SLAB_DESCRIPTOR_BYTES,
	.class_count = HAK_CLASS_COUNT,
	.class_run_head = HAK_CLASS_RUN_HEAD,
	.class_run_tail = HAK_CLASS_RUN_TAIL,
	.control_count_mask = HAK_CONTROL_COUNT_MASK,
	.control_class_shift = HAK_CONTROL_CLASS_SHIFT,
	.control_slab = HAK_CONTROL_SLAB,
	.control_run = HAK_CONTROL_RUN,
};
