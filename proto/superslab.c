#include "proto/superslab.h"

#include "proto/wire.h"

static_assert(sizeof(struct hak_superslab_row) == HAK_SUPERSLAB_ROW_BYTES, "words, nothing else");

void hak_superslab_row_encode(const struct hak_superslab_row *row,
			      uint8_t bytes[HAK_SUPERSLAB_ROW_BYTES])
{
	hak_wire_put_record(bytes, row, HAK_SUPERSLAB_ROW_BYTES / 8);
}

void hak_superslab_row_decode(const uint8_t bytes[HAK_SUPERSLAB_ROW_BYTES],
			      struct hak_superslab_row *row)
{
	hak_wire_get_record(bytes, row, HAK_SUPERSLAB_ROW_BYTES / 8);
}
