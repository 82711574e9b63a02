/* state.h - what hakd has to know again after it was killed: named sections, in a file that
 * outlives it.
 *
 *   0                one half: header, content
 *   STATE_HALF - 8   how often its restoring was begun and not ended
 *   STATE_HALF       the other half
 *
 * A half is written content first and header last, the halves by turns. The header has the sequence
 * and a checksum of both, so a half that was being written when hakd was killed is not believed,
 * and the other is as it was: it holds what was saved before. Of two whole halves the later one
 * counts. Times and pids mean something until the machine starts anew: the boot's id is in the
 * header.
 *
 *   offset  bytes  header
 *   0       8      magic, "hakSTATE"
 *   8       4      version: one more or less is taken, another is refused
 *   12      4      CRC-32 of the content
 *   16      16     the boot's id
 *   32      8      sequence
 *   40      8      bytes of the content
 *   48      4      0
 *   52      4      CRC-32 of what stands before it
 *
 * One that hakd has died of while it restored it is tried STATE_TRIES_MAX times: a daemon that
 * forgets is better than none.
 *
 * The content is a row of sections: kind (8 bytes), length (8), bytes. Whoever has something to
 * keep names a section of his (state_keep) and is called to save and to restore it. Version rule:
 * numbers are added at the end of a record and read as 0 where an earlier hakd did not write them;
 * sections that are not known are passed over. So hakds one version apart take each other's state.
 *
 * Owns its descriptor. One thread. Limits: STATE_CONTENT_MAX; what is larger is not saved, and
 * said.
 */
#ifndef HAKD_BASE_STATE_H
#define HAKD_BASE_STATE_H

#include "proto/wire.h"

#include <sys/types.h>

#define STATE_VERSION 1
#define STATE_HEADER_BYTES 56
#define STATE_HALF ((size_t)64 << 20)
#define STATE_CONTENT_MAX (STATE_HALF - STATE_HEADER_BYTES - 8)
#define STATE_TRIES_MAX 5
#define STATE_KEEPERS_MAX 16
#define STATE_BOOT_BYTES 16

/* Bytes that grow. Errors stick, as in wire.h. */
struct state_writer {
	uint8_t *bytes;
	size_t used;
	size_t size;
	bool failed;
};

void state_put(struct state_writer *writer, uint64_t number);
void state_put_numbers(struct state_writer *writer, const uint64_t *numbers, size_t count);
void state_put_string(struct state_writer *writer, const char *string);

/* What is put between the two is one record: a later reader may know more of it, or less. */
size_t state_begin_record(struct state_writer *writer);
void state_end_record(struct state_writer *writer, size_t begin);

void state_writer_deinit(struct state_writer *writer);

/* Each gives 0 or "" beyond the end. Numbers come with their count: what is not there is 0, and
 * what is too many is passed over. A string that is too long is cut off. */
uint64_t state_get(struct hak_wire *reader);
void state_get_numbers(struct hak_wire *reader, uint64_t *numbers, size_t count);
void state_get_string(struct hak_wire *reader, char *to, size_t size);

/* The next record; false: there is none, or not all of it. */
bool state_get_record(struct hak_wire *reader, struct hak_wire *record);

struct state_keeper {
	uint64_t kind; /* of the section, for good: enum state_section */
	void *context;
	void (*save)(void *context, struct state_writer *writer);
	void (*restore)(void *context, struct hak_wire *reader);
};

/* A number stays what it is, and is never used anew. */
enum state_section {
	STATE_TABLE = 1,
	STATE_GROUPS = 2,
	STATE_OVERRIDES = 3,
	STATE_CLIENTS = 4,
	STATE_EFFECTS = 5,
	STATE_ADVISOR = 6,
};

struct state {
	int fd; /* -1: nothing is kept */
	uint64_t sequence;
	uint8_t boot[STATE_BOOT_BYTES];
	struct state_keeper keepers[STATE_KEEPERS_MAX];
	size_t keeper_count;
	struct state_writer writer;
	struct state_writer saved; /* the last content: comparing costs a tenth of summing */
	bool has_failed;	   /* to save, the last time: that is said once */
};

void state_init(struct state *state);
void state_deinit(struct state *state);

/* Sections are saved and restored in the order in which they were named. */
void state_keep(struct state *state, const struct state_keeper *keeper);

enum state_found {
	STATE_NONE,    /* it is empty */
	STATE_WHOLE,   /* and restored */
	STATE_TORN,    /* nothing in it is whole: to be written over */
	STATE_DEADLY,  /* restored too often without an end: the same */
	STATE_OLD,     /* of another boot or version: the same */
	STATE_FOREIGN, /* not ours: it was left alone and is not kept */
};

/* Takes the descriptor of a regular file, open for reading and writing, and restores what it holds.
 * Where that is nothing of ours the descriptor is closed. */
enum state_found state_take(struct state *state, int fd);

/* Saves all sections, where they are others than before. */
void state_save(struct state *state);

/* CRC-32 of zlib, for tests that write a state by hand. */
uint32_t state_checksum(const void *bytes, size_t count);

#endif
