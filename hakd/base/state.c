#include "base/state.h"

#include "base/log.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define MAGIC 0x45544154536b6168u /* "hakSTATE" as bytes */
#define HEADER_CRC_AT 52
#define TRIES_AT ((off_t)STATE_HALF - 8)

/* Of one half, as its header says. */
struct half {
	uint64_t sequence;
	uint64_t bytes;
	uint32_t crc;
};

static_assert(STATE_CONTENT_MAX < UINT32_MAX, "a record's length has four bytes, zlib's unsigned");

static bool make_room(struct state_writer *writer, size_t count)
{
	size_t size = writer->size != 0 ? writer->size : 4096;
	uint8_t *bytes;

	if (writer->failed || count > STATE_CONTENT_MAX - writer->used) {
		writer->failed = true;
		return false;
	}
	while (size - writer->used < count)
		size *= 2;
	if (size == writer->size)
		return true;
	bytes = realloc(writer->bytes, size);
	if (bytes == NULL) {
		writer->failed = true;
		return false;
	}
	writer->bytes = bytes;
	writer->size = size;
	return true;
}

static void put_bytes(struct state_writer *writer, const void *bytes, size_t count)
{
	if (!make_room(writer, count))
		return;
	memcpy(writer->bytes + writer->used, bytes, count);
	writer->used += count;
}

/* A hundred of them for each client at each tick: in one piece, and not as wire.h would. */
void state_put(struct state_writer *writer, uint64_t number)
{
	uint64_t bytes = htole64(number);

	put_bytes(writer, &bytes, sizeof bytes);
}

static void put_length(struct state_writer *writer, size_t length)
{
	uint32_t bytes = htole32((uint32_t)length);

	put_bytes(writer, &bytes, sizeof bytes);
}

void state_put_numbers(struct state_writer *writer, const uint64_t *numbers, size_t count)
{
	state_put(writer, count);
	for (size_t i = 0; i < count; i++)
		state_put(writer, numbers[i]);
}

void state_put_string(struct state_writer *writer, const char *string)
{
	size_t count = strlen(string);

	put_length(writer, count);
	put_bytes(writer, string, count);
}

size_t state_begin_record(struct state_writer *writer)
{
	put_length(writer, 0);
	return writer->used;
}

void state_end_record(struct state_writer *writer, size_t begin)
{
	struct hak_wire wire;

	if (writer->failed)
		return;
	wire = hak_wire_of(writer->bytes + begin - 4, 4);
	hak_wire_put(&wire, writer->used - begin, 4);
}

void state_writer_deinit(struct state_writer *writer)
{
	free(writer->bytes);
	*writer = (struct state_writer){.bytes = NULL};
}

uint64_t state_get(struct hak_wire *reader)
{
	return hak_wire_get(reader, 8);
}

void state_get_numbers(struct hak_wire *reader, uint64_t *numbers, size_t count)
{
	uint64_t there = state_get(reader);

	memset(numbers, 0, count * sizeof *numbers);
	/* A count that is nonsense ends with the bytes. */
	for (uint64_t i = 0; i < there && !reader->overrun; i++) {
		uint64_t number = state_get(reader);

		if (i < count)
			numbers[i] = number;
	}
}

void state_get_string(struct hak_wire *reader, char *to, size_t size)
{
	size_t count = (size_t)hak_wire_get(reader, 4);
	const uint8_t *at = hak_wire_skip(reader, count);

	if (at == NULL)
		count = 0;
	if (count > size - 1)
		count = size - 1;
	if (count > 0)
		memcpy(to, at, count);
	to[count] = '\0';
}

bool state_get_record(struct hak_wire *reader, struct hak_wire *record)
{
	size_t count = (size_t)hak_wire_get(reader, 4);
	uint8_t *at = hak_wire_skip(reader, count);

	if (at == NULL)
		return false;
	*record = hak_wire_of(at, count);
	return true;
}

uint32_t state_checksum(const void *bytes, size_t count)
{
	return (uint32_t)crc32(0, bytes, (uInt)count);
}

/* Zeros where there is no such file; then those of all boots are the same, and only pids and start
 * times stand between them. */
static void read_boot(uint8_t boot[STATE_BOOT_BYTES])
{
	char digits[2 * STATE_BOOT_BYTES + 5] = "", byte[3] = "";
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	size_t digit = 0;

	memset(boot, 0, STATE_BOOT_BYTES);
	if (fd < 0)
		return;
	if (read(fd, digits, sizeof digits - 1) < 0)
		digits[0] = '\0';
	close(fd);
	for (const char *at = digits; *at != '\0' && digit < 2 * STATE_BOOT_BYTES; at++) {
		if (*at == '-')
			continue;
		byte[0] = *at;
		boot[digit / 2] = (uint8_t)((unsigned long)boot[digit / 2] << 4 |
					    strtoul(byte, NULL, 16));
		digit++;
	}
}

void state_init(struct state *state)
{
	*state = (struct state){.fd = -1};
	read_boot(state->boot);
}

void state_deinit(struct state *state)
{
	state_writer_deinit(&state->writer);
	state_writer_deinit(&state->saved);
	if (state->fd >= 0)
		close(state->fd);
	state->fd = -1;
}

void state_keep(struct state *state, const struct state_keeper *keeper)
{
	assert(state->keeper_count < STATE_KEEPERS_MAX);
	state->keepers[state->keeper_count++] = *keeper;
}

static off_t offset_of(uint64_t sequence)
{
	return sequence % 2 != 0 ? (off_t)STATE_HALF : 0;
}

/* What stands in a half's header. STATE_WHOLE says nothing of the content yet. */
static enum state_found read_header(const struct state *state, off_t offset, struct half *half)
{
	uint8_t bytes[STATE_HEADER_BYTES];
	struct hak_wire wire = hak_wire_of(bytes, sizeof bytes);
	ssize_t count = pread(state->fd, bytes, sizeof bytes, offset);
	const uint8_t *boot;
	uint64_t version;

	/* The second half does not begin before the first time that it is written. */
	if (count == 0)
		return STATE_NONE;
	if (count != (ssize_t)sizeof bytes)
		return STATE_FOREIGN;
	if (hak_wire_get(&wire, 8) != MAGIC) {
		for (size_t i = 0; i < sizeof bytes; i++)
			if (bytes[i] != 0)
				return STATE_FOREIGN;
		return STATE_NONE;
	}
	version = hak_wire_get(&wire, 4);
	half->crc = (uint32_t)hak_wire_get(&wire, 4);
	boot = hak_wire_skip(&wire, STATE_BOOT_BYTES);
	half->sequence = hak_wire_get(&wire, 8);
	half->bytes = hak_wire_get(&wire, 8);
	hak_wire_skip(&wire, 4);
	if (hak_wire_get(&wire, 4) != state_checksum(bytes, HEADER_CRC_AT) ||
	    half->bytes > STATE_CONTENT_MAX || offset_of(half->sequence) != offset)
		return STATE_TORN;
	if (!hak_wire_is_near(version, STATE_VERSION) ||
	    memcmp(boot, state->boot, STATE_BOOT_BYTES) != 0)
		return STATE_OLD;
	return STATE_WHOLE;
}

/* The content of a half whose header is whole, to be freed; NULL: it is torn. */
static uint8_t *read_content(const struct state *state, const struct half *half)
{
	off_t offset = offset_of(half->sequence) + STATE_HEADER_BYTES;
	uint8_t *bytes = malloc(half->bytes + 1);
	size_t used = 0;

	while (bytes != NULL && used < half->bytes) {
		ssize_t count = pread(state->fd, bytes + used, half->bytes - used,
				      offset + (off_t)used);

		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			break;
		used += (size_t)count;
	}
	if (bytes != NULL && used == half->bytes && state_checksum(bytes, used) == half->crc)
		return bytes;
	free(bytes);
	return NULL;
}

static void restore(struct state *state, uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < state->keeper_count; i++) {
		const struct state_keeper *keeper = &state->keepers[i];
		struct hak_wire wire = hak_wire_of(bytes, count);

		while (wire.used < count) {
			uint64_t kind = hak_wire_get(&wire, 8);
			size_t length = (size_t)hak_wire_get(&wire, 8);
			uint8_t *at = hak_wire_skip(&wire, length);
			struct hak_wire section;

			if (at == NULL)
				break;
			section = hak_wire_of(at, length);
			if (kind == keeper->kind)
				keeper->restore(keeper->context, &section);
		}
	}
}

/* The worse of what was found in both halves, where neither is whole. */
static enum state_found worse(enum state_found a, enum state_found b)
{
	return a > b ? a : b;
}

static uint64_t read_tries(const struct state *state)
{
	uint64_t bytes = 0;

	if (pread(state->fd, &bytes, sizeof bytes, TRIES_AT) != (ssize_t)sizeof bytes)
		return 0;
	return le64toh(bytes);
}

/* Where there is no room for it, it is not counted. */
static void write_tries(const struct state *state, uint64_t tries)
{
	uint64_t bytes = htole64(tries);

	if (pwrite(state->fd, &bytes, sizeof bytes, TRIES_AT) < 0)
		return;
}

static enum state_found restore_half(struct state *state, const struct half *half)
{
	uint8_t *bytes = read_content(state, half);
	uint64_t tries = read_tries(state);

	if (bytes == NULL)
		return STATE_TORN;
	if (tries < STATE_TRIES_MAX) {
		state->sequence = half->sequence;
		write_tries(state, tries + 1);
		restore(state, bytes, half->bytes);
		write_tries(state, 0);
	}
	free(bytes);
	return tries < STATE_TRIES_MAX ? STATE_WHOLE : STATE_DEADLY;
}

static enum state_found find(struct state *state)
{
	struct half halves[2] = {{.sequence = 0}, {.sequence = 0}};
	enum state_found found[2];
	size_t later;

	for (size_t i = 0; i < 2; i++)
		found[i] = read_header(state, offset_of(i), &halves[i]);
	later = halves[1].sequence > halves[0].sequence;
	for (size_t i = 0; i < 2; i++) {
		size_t which = i == 0 ? later : 1 - later;

		if (found[which] != STATE_WHOLE)
			continue;
		found[which] = restore_half(state, &halves[which]);
		if (found[which] != STATE_TORN)
			return found[which];
	}
	return worse(found[0], found[1]);
}

enum state_found state_take(struct state *state, int fd)
{
	struct stat status;
	enum state_found found = STATE_FOREIGN;

	state->fd = fd;
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid() &&
	    (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR)
		found = find(state);
	/* Nobody is ever to find what this hakd has not believed beside what it writes. */
	if (found != STATE_NONE && found != STATE_WHOLE && found != STATE_FOREIGN &&
	    ftruncate(fd, 0) != 0)
		found = STATE_FOREIGN;
	if (found == STATE_FOREIGN) {
		close(fd);
		state->fd = -1;
	}
	return found;
}

static bool write_whole(int fd, const uint8_t *bytes, size_t count, off_t offset)
{
	while (count > 0) {
		ssize_t written = pwrite(fd, bytes, count, offset);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return false;
		bytes += written;
		offset += written;
		count -= (size_t)written;
	}
	return true;
}

static bool write_half(const struct state *state, const struct half *half)
{
	uint8_t bytes[STATE_HEADER_BYTES] = {0};
	struct hak_wire wire = hak_wire_of(bytes, sizeof bytes);
	off_t offset = offset_of(half->sequence);

	hak_wire_put(&wire, MAGIC, 8);
	hak_wire_put(&wire, STATE_VERSION, 4);
	hak_wire_put(&wire, half->crc, 4);
	memcpy(hak_wire_skip(&wire, STATE_BOOT_BYTES), state->boot, STATE_BOOT_BYTES);
	hak_wire_put(&wire, half->sequence, 8);
	hak_wire_put(&wire, half->bytes, 8);
	hak_wire_put(&wire, 0, 4);
	hak_wire_put(&wire, state_checksum(bytes, HEADER_CRC_AT), 4);
	return write_whole(state->fd, state->writer.bytes, half->bytes,
			   offset + STATE_HEADER_BYTES) &&
	       write_whole(state->fd, bytes, sizeof bytes, offset);
}

static void collect(struct state *state)
{
	struct state_writer *writer = &state->writer;

	writer->used = 0;
	writer->failed = false;
	for (size_t i = 0; i < state->keeper_count; i++) {
		const struct state_keeper *keeper = &state->keepers[i];
		struct hak_wire wire;
		size_t begin;

		state_put(writer, keeper->kind);
		state_put(writer, 0);
		begin = writer->used;
		keeper->save(keeper->context, writer);
		if (writer->failed)
			return;
		wire = hak_wire_of(writer->bytes + begin - 8, 8);
		hak_wire_put(&wire, writer->used - begin, 8);
	}
}

/* Said when it begins to be so, and no more until it was good again. */
static void note_failure(struct state *state, const char *why)
{
	if (!state->has_failed)
		log_say(LOG_ERR, "Cannot save what is to outlive this daemon: %s.", why);
	state->has_failed = true;
}

static bool is_saved(const struct state *state)
{
	return state->saved.bytes != NULL && state->writer.used == state->saved.used &&
	       memcmp(state->writer.bytes, state->saved.bytes, state->saved.used) == 0;
}

void state_save(struct state *state)
{
	struct half half = {.sequence = state->sequence + 1};
	struct state_writer written;

	if (state->fd < 0)
		return;
	collect(state);
	if (state->writer.failed) {
		note_failure(state, "there is no room for it");
		return;
	}
	if (is_saved(state))
		return;
	half.bytes = state->writer.used;
	half.crc = state_checksum(state->writer.bytes, state->writer.used);
	if (!write_half(state, &half)) {
		note_failure(state, strerror(errno));
		return;
	}
	state->has_failed = false;
	state->sequence = half.sequence;
	written = state->writer;
	state->writer = state->saved;
	state->saved = written;
}
