#include "proto/mailbox.h"

#include "proto/wire.h"

/* All fields are words, in the order of the struct. */
static_assert(sizeof(struct hak_mailbox) == HAK_MAILBOX_BYTES, "words, nothing else");
static_assert(offsetof(struct hak_mailbox, sequence) == HAK_MAILBOX_SEQUENCE, "its place");
static_assert(offsetof(struct hak_mailbox, daemon_seen) == HAK_MAILBOX_DAEMON_SEEN, "its place");
static_assert(offsetof(struct hak_mailbox, epoch) == HAK_MAILBOX_EPOCH, "its place");
static_assert(offsetof(struct hak_mailbox, reclaimed_ns) == HAK_MAILBOX_RECLAIMED, "its place");

void hak_mailbox_encode(const struct hak_mailbox *mailbox, uint8_t bytes[HAK_MAILBOX_BYTES])
{
	hak_wire_put_record(bytes, mailbox, HAK_MAILBOX_BYTES / 8);
}

void hak_mailbox_decode(const uint8_t bytes[HAK_MAILBOX_BYTES], struct hak_mailbox *mailbox)
{
	hak_wire_get_record(bytes, mailbox, HAK_MAILBOX_BYTES / 8);
}
