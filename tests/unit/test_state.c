/* Goal: what was saved comes back, whole or as it was saved before; what is damaged, of another
 * boot, version or program is never believed, and nothing of it does harm.
 * Method: a keeper of numbers and words, in memfds; then bytes are flipped, one after the other,
 * halves are written over in part, headers are forged, and records are longer or shorter than they
 * are read. */
#include "unit.h"

#include "base/log.h"
#include "base/state.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIRST_HALF ((off_t)STATE_HALF) /* by the first save: sequence 1 */

struct keeper {
	char text[32];
	uint64_t numbers[3];
	unsigned restored;
};

static struct keeper kept;
static size_t flood_bytes;

static void save(void *context, struct state_writer *writer)
{
	const struct keeper *keeper = context;
	size_t begin = state_begin_record(writer);

	state_put_string(writer, keeper->text);
	state_put_numbers(writer, keeper->numbers, 3);
	state_end_record(writer, begin);
	for (size_t i = 0; i < flood_bytes && !writer->failed; i += 8)
		state_put(writer, i);
}

static void restore(void *context, struct hak_wire *reader)
{
	struct keeper *keeper = context;
	struct hak_wire record;

	keeper->restored++;
	if (!state_get_record(reader, &record))
		return;
	state_get_string(&record, keeper->text, sizeof keeper->text);
	state_get_numbers(&record, keeper->numbers, 3);
}

static const struct state_keeper keeper = {STATE_TABLE, &kept, save, restore};

static void keep(const char *text, uint64_t number)
{
	snprintf(kept.text, sizeof kept.text, "%s", text);
	for (int i = 0; i < 3; i++)
		kept.numbers[i] = number + (uint64_t)i;
}

static int empty_file(void)
{
	int fd = memfd_create("state", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* Another hakd finds it; what it has restored is in `kept`. */
static enum state_found found_in(int fd)
{
	struct state state;
	enum state_found found;

	kept = (struct keeper){.restored = 0};
	state_init(&state);
	state_keep(&state, &keeper);
	found = state_take(&state, dup(fd));
	state_deinit(&state);
	return found;
}

static void save_in(struct state *state, const char *text, uint64_t number)
{
	keep(text, number);
	state_save(state);
}

static void begin(struct state *state, int fd)
{
	state_init(state);
	state_keep(state, &keeper);
	assert_int_equal(state_take(state, dup(fd)), STATE_NONE);
}

static void assert_kept(const char *text, uint64_t number)
{
	assert_int_equal(kept.restored, 1);
	assert_string_equal(kept.text, text);
	assert_int_equal(kept.numbers[2], number + 2);
}

static void what_was_saved_comes_back(void **state)
{
	struct state saved;
	int fd = empty_file();

	(void)state;
	begin(&saved, fd);
	for (uint64_t i = 0; i < 5; i++) {
		save_in(&saved, "some words", i);
		assert_int_equal(found_in(fd), STATE_WHOLE);
		assert_kept("some words", i);
	}
	/* The same once more is not written. */
	keep("some words", 4);
	state_save(&saved);
	assert_int_equal(saved.sequence, 5);
	state_deinit(&saved);
	close(fd);
}

/* As long as the one half is whole, whatever stands in the other. */
static void a_torn_write_is_not_believed(void **state)
{
	uint8_t noise[64], before[64];
	struct state saved;
	int fd = empty_file();

	(void)state;
	memset(noise, 0xa5, sizeof noise);
	begin(&saved, fd);
	save_in(&saved, "earlier", 10);
	save_in(&saved, "later", 20);
	for (size_t count = 1; count <= sizeof noise; count++) {
		off_t content = FIRST_HALF + STATE_HEADER_BYTES;

		/* A third one was begun, where the first was, and not finished. */
		assert_int_equal(pwrite(fd, noise, count, content), count);
		assert_int_equal(found_in(fd), STATE_WHOLE);
		assert_kept("later", 20);
	}
	/* Of the last one only the header is missing a bit: the one before counts. */
	save_in(&saved, "last", 30);
	save_in(&saved, "very last", 40);
	assert_int_equal(pread(fd, before, STATE_HEADER_BYTES, 0), STATE_HEADER_BYTES);
	for (size_t i = 0; i < STATE_HEADER_BYTES; i++) {
		memcpy(noise, before, sizeof noise);
		noise[i] ^= 1;
		assert_int_equal(pwrite(fd, noise, STATE_HEADER_BYTES, 0), STATE_HEADER_BYTES);
		assert_int_equal(found_in(fd), STATE_WHOLE);
		assert_kept("last", 30);
	}
	state_deinit(&saved);
	close(fd);
}

static void every_flipped_byte_is_refused(void **state)
{
	uint8_t bytes[256];
	struct state saved;
	ssize_t count;
	int fd = empty_file();

	(void)state;
	begin(&saved, fd);
	save_in(&saved, "words", 7);
	count = pread(fd, bytes, sizeof bytes, FIRST_HALF);
	assert_true(count > STATE_HEADER_BYTES && count < (ssize_t)sizeof bytes);
	for (ssize_t i = 0; i < count; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			uint8_t flipped = bytes[i] ^ (uint8_t)(1U << bit);
			enum state_found found;

			assert_int_equal(pwrite(fd, bytes, (size_t)count, FIRST_HALF), count);
			assert_int_equal(pwrite(fd, &flipped, 1, FIRST_HALF + i), 1);
			found = found_in(fd);
			assert_int_equal(kept.restored, 0);
			/* Its first eight say whose it is; what is ours is written over. */
			assert_int_equal(found, i < 8 ? STATE_FOREIGN : STATE_TORN);
			assert_int_equal(lseek(fd, 0, SEEK_END), i < 8 ? FIRST_HALF + count : 0);
		}
	}
	state_deinit(&saved);
	close(fd);
}

/* Each forged with a checksum that is right. */
static void another_version_or_boot_is_refused(void **state)
{
	static const off_t places[] = {8, 16};
	struct state saved;
	int fd = empty_file();

	(void)state;
	for (size_t i = 0; i < UNIT_COUNT(places); i++) {
		uint8_t header[STATE_HEADER_BYTES];
		uint32_t crc;

		begin(&saved, fd);
		save_in(&saved, "words", 7);
		assert_int_equal(pread(fd, header, sizeof header, FIRST_HALF), sizeof header);
		header[places[i]] += 2;
		crc = state_checksum(header, 52);
		for (int byte = 0; byte < 4; byte++)
			header[52 + byte] = (uint8_t)(crc >> (8 * byte));
		assert_int_equal(pwrite(fd, header, sizeof header, FIRST_HALF), sizeof header);
		assert_int_equal(found_in(fd), STATE_OLD);
		assert_int_equal(kept.restored, 0);
		state_deinit(&saved);
	}
	close(fd);
}

static void what_is_not_ours_is_left_alone(void **state)
{
	char bytes[8] = "";
	int fd = empty_file(), reading;
	char path[64];

	(void)state;
	assert_int_equal(write(fd, "mine", 4), 4);
	assert_int_equal(found_in(fd), STATE_FOREIGN);
	assert_int_equal(pread(fd, bytes, sizeof bytes, 0), 4);
	assert_string_equal(bytes, "mine");
	assert_int_equal(found_in(STDIN_FILENO), STATE_FOREIGN);
	/* One that cannot be written. */
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	assert_int_equal(ftruncate(fd, 0), 0);
	reading = open(path, O_RDONLY);
	assert_int_equal(found_in(reading), STATE_FOREIGN);
	close(reading);
	close(fd);
}

static void die(void *context, struct hak_wire *reader)
{
	(void)context;
	(void)reader;
	_exit(1);
}

/* A hakd that does not live through what it finds. */
static void restore_and_die(int fd)
{
	const struct state_keeper deadly = {STATE_TABLE, NULL, save, die};
	struct state state;
	pid_t child = fork();
	int status;

	if (child == 0) {
		state_init(&state);
		state_keep(&state, &deadly);
		state_take(&state, fd);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

static void what_is_deadly_is_tried_so_often(void **state)
{
	struct state saved;
	int fd = empty_file();

	(void)state;
	begin(&saved, fd);
	save_in(&saved, "words", 7);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < STATE_TRIES_MAX - 1; i++)
			restore_and_die(fd);
		/* The next one lives: it is not the state's fault. */
		assert_int_equal(found_in(fd), STATE_WHOLE);
		assert_kept("words", 7);
	}
	for (int i = 0; i < STATE_TRIES_MAX; i++)
		restore_and_die(fd);
	assert_int_equal(found_in(fd), STATE_DEADLY);
	assert_int_equal(kept.restored, 0);
	assert_int_equal(found_in(fd), STATE_NONE);
	state_deinit(&saved);
	close(fd);
}

/* Of a hakd one version older or newer: records that are shorter and longer, sections of others. */
static void records_may_grow_and_shrink(void **state)
{
	struct state_writer writer = {.bytes = NULL};
	const uint64_t many[] = {1, 2, 3, 4, 5};
	uint64_t few[3] = {9, 9, 9};
	struct hak_wire reader, record;
	char text[4];
	size_t first;

	(void)state;
	first = state_begin_record(&writer);
	state_put_string(&writer, "longer than four");
	state_put_numbers(&writer, many, 5);
	state_put(&writer, 77);
	state_end_record(&writer, first);
	first = state_begin_record(&writer);
	state_put_string(&writer, "");
	state_put_numbers(&writer, many, 2);
	state_end_record(&writer, first);
	assert_false(writer.failed);

	reader = hak_wire_of(writer.bytes, writer.used);
	assert_true(state_get_record(&reader, &record));
	state_get_string(&record, text, sizeof text);
	assert_string_equal(text, "lon");
	state_get_numbers(&record, few, 3);
	assert_int_equal(few[2], 3);
	assert_int_equal(state_get(&record), 77);
	assert_int_equal(state_get(&record), 0);
	assert_true(state_get_record(&reader, &record));
	state_get_string(&record, text, sizeof text);
	assert_string_equal(text, "");
	state_get_numbers(&record, few, 3);
	assert_int_equal(few[1], 2);
	assert_int_equal(few[2], 0);
	assert_false(state_get_record(&reader, &record));

	/* Whatever a record says of its length. */
	for (size_t i = 0; i < writer.used; i++) {
		reader = hak_wire_of(writer.bytes, i);
		while (state_get_record(&reader, &record)) {
			state_get_string(&record, text, sizeof text);
			state_get_numbers(&record, few, 3);
		}
	}
	state_writer_deinit(&writer);
}

static void too_much_is_not_saved(void **state)
{
	struct state saved;
	int fd = empty_file();

	(void)state;
	begin(&saved, fd);
	save_in(&saved, "before", 1);
	flood_bytes = STATE_CONTENT_MAX;
	save_in(&saved, "too much", 2);
	flood_bytes = 0;
	assert_true(saved.has_failed);
	assert_int_equal(found_in(fd), STATE_WHOLE);
	assert_kept("before", 1);
	save_in(&saved, "after", 3);
	assert_false(saved.has_failed);
	assert_int_equal(found_in(fd), STATE_WHOLE);
	assert_kept("after", 3);
	state_deinit(&saved);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_saved_comes_back),
		cmocka_unit_test(a_torn_write_is_not_believed),
		cmocka_unit_test(every_flipped_byte_is_refused),
		cmocka_unit_test(another_version_or_boot_is_refused),
		cmocka_unit_test(what_is_not_ours_is_left_alone),
		cmocka_unit_test(what_is_deadly_is_tried_so_often),
		cmocka_unit_test(records_may_grow_and_shrink),
		cmocka_unit_test(too_much_is_not_saved),
	};

	log_init(LOG_CRIT); /* what is refused is said */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
