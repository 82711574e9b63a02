/* Goal: the kernel's texts are read as they are, and a level rises, stays and falls as it should.
 * Method: texts that were recorded on Linux 6.18, of both versions of control groups, also as files
 * in a folder; and samples at times that the test names. */
#include "unit.h"

#include "govern/cgroup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)
#define SECOND CLOCK_SECOND_NS

static void stalls_are_read(void **state)
{
	static const char text[] = "some avg10=1.08 avg60=0.19 avg300=0.04 total=347785\n"
				   "full avg10=1.01 avg60=0.18 avg300=0.04 total=336622\n";
	struct level_stalls stalls;

	(void)state;
	assert_true(level_parse_stalls(text, &stalls));
	assert_int_equal(stalls.some_us, 347785);
	assert_int_equal(stalls.full_us, 336622);
	assert_true(
		level_parse_stalls("some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n", &stalls));
	assert_int_equal(stalls.full_us, 0);
	assert_false(level_parse_stalls("", &stalls));
	assert_false(level_parse_stalls("some avg10=0.00 avg60=0.00\n", &stalls));
	assert_false(level_parse_stalls("nothing of that kind", &stalls));
	assert_int_equal(stalls.some_us, 7);
}

static void memory_is_read(void **state)
{
	static const char text[] = "MemTotal:       24683656 kB\n"
				   "MemFree:        20740120 kB\n"
				   "MemAvailable:   21570024 kB\n"
				   "Buffers:           14096 kB\n";
	struct level_room room;
	uint64_t number;

	(void)state;
	assert_true(level_parse_meminfo(text, &room));
	assert_int_equal(room.limit_bytes, 24683656 * (uint64_t)1024);
	assert_int_equal(room.used_bytes, (24683656 - 21570024) * (uint64_t)1024);
	assert_false(level_parse_meminfo("MemTotal: 1 kB\n", &room));
	assert_false(level_parse_meminfo("MemTotal: 1 kB\nMemAvailable: 2 kB\n", &room));
	assert_false(level_parse_meminfo("MemTotal: x kB\nMemAvailable: 0 kB\n", &room));

	assert_true(level_parse_bytes("1048576\n", &number));
	assert_int_equal(number, 1048576);
	assert_true(level_parse_bytes("max\n", &number));
	assert_int_equal(number, UINT64_MAX);
	assert_true(level_parse_bytes("9223372036854771712\n", &number));
	assert_int_equal(number, UINT64_MAX);
	assert_false(level_parse_bytes("", &number));
	assert_false(level_parse_bytes("-1\n", &number));
	assert_false(level_parse_bytes("12x\n", &number));
	assert_true(level_parse_key("inactive_file 5\ntotal_inactive_file 9\n",
				    "total_inactive_file ", &number));
	assert_int_equal(number, 9);
	assert_false(level_parse_key("anon 5\n", "inactive_file ", &number));
}

static const char hybrid[] =
	"31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
	"32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
	"35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
	"41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

static void both_versions_are_found(void **state)
{
	static const char unified[] =
		"30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
		"60 30 0:26 / /mnt/again rw - cgroup2 cgroup2 rw\n";
	struct cgroup_mounts mounts;
	struct cgroup_place place;

	(void)state;
	cgroup_parse_mounts(hybrid, &mounts);
	assert_string_equal(mounts.version2.folder, "/sys/fs/cgroup/unified");
	assert_string_equal(mounts.memory.folder, "/sys/fs/cgroup/memory");
	assert_true(cgroup_parse_place(&mounts,
				       "4:memory:/pods/a\n1:cpu:/\n"
				       "0::/system.slice/b.service\n",
				       &place));
	assert_string_equal(place.limits, "/sys/fs/cgroup/memory/pods/a");
	assert_string_equal(place.stalls, "/sys/fs/cgroup/unified/system.slice/b.service");
	assert_false(place.is_version2);
	assert_false(cgroup_parse_place(&mounts, "4:memory:/\n0::/\n", &place));

	cgroup_parse_mounts(unified, &mounts);
	assert_string_equal(mounts.version2.folder, "/sys/fs/cgroup");
	assert_true(cgroup_parse_place(&mounts, "0::/a/b", &place));
	assert_string_equal(place.limits, "/sys/fs/cgroup/a/b");
	assert_string_equal(place.stalls, place.limits);
	assert_true(place.is_version2);

	cgroup_parse_mounts("", &mounts);
	assert_false(cgroup_parse_place(&mounts, "0::/a/b\n", &place));
}

static void odd_places_are_none(void **state)
{
	static const char part[] = "30 23 0:26 /pod /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
	char text[700] = "0::/";
	struct cgroup_mounts mounts;
	struct cgroup_place place;

	(void)state;
	cgroup_parse_mounts(part, &mounts);
	assert_true(cgroup_parse_place(&mounts, "0::/pod/x\n", &place));
	assert_string_equal(place.limits, "/sys/fs/cgroup/x");
	assert_false(cgroup_parse_place(&mounts, "0::/pod\n", &place));
	assert_false(cgroup_parse_place(&mounts, "0::/podx\n", &place));
	assert_false(cgroup_parse_place(&mounts, "0::/other/x\n", &place));
	cgroup_parse_mounts(hybrid, &mounts);
	assert_false(cgroup_parse_place(&mounts, "0::/../x\n", &place));
	assert_false(cgroup_parse_place(&mounts, "nothing of that kind", &place));
	assert_false(cgroup_parse_place(&mounts, "", &place));
	memset(text + 4, 'n', sizeof text - 5);
	text[sizeof text - 1] = '\0';
	assert_false(cgroup_parse_place(&mounts, text, &place));
}

/* A sample with so many MiB of 1000 used and held. */
static struct level_sample used_at(uint64_t now_ns, uint64_t used_mib)
{
	return (struct level_sample){
		.now_ns = now_ns,
		.room = {used_mib * MIB, used_mib * MIB, 1000 * MIB},
	};
}

static void room_has_a_high_and_a_low_mark(void **state)
{
	static const struct {
		uint64_t used_mib;
		bool is_pressing;
		enum level level;
	} steps[] = {
		{890, false, LEVEL_NONE}, {901, true, LEVEL_SOME},  {860, true, LEVEL_SOME},
		{849, false, LEVEL_NONE}, {860, false, LEVEL_NONE}, {970, true, LEVEL_FULL},
		{930, true, LEVEL_FULL},  {910, true, LEVEL_SOME},  {940, true, LEVEL_SOME},
	};
	struct level_judge judge = {LEVEL_NONE};

	(void)state;
	for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
		const struct level_sample sample = used_at((1 + i) * 10 * SECOND,
							   steps[i].used_mib);

		assert_int_equal(level_judge(&judge, &sample), steps[i].level);
		assert_int_equal(judge.is_pressing, steps[i].is_pressing);
	}
}

/* The level is for people: it stays a while. What memory is taken for ends at once. */
static void pressing_ends_before_the_level(void **state)
{
	struct level_judge judge = {LEVEL_NONE};
	struct level_sample sample = used_at(SECOND, 950);

	(void)state;
	assert_int_equal(level_judge(&judge, &sample), LEVEL_SOME);
	sample = used_at(SECOND + LEVEL_CALM_NS - 1, 100);
	assert_int_equal(level_judge(&judge, &sample), LEVEL_SOME);
	assert_false(judge.is_pressing);
	sample = used_at(SECOND + LEVEL_CALM_NS, 100);
	assert_int_equal(level_judge(&judge, &sample), LEVEL_NONE);
}

static enum level stalled_at(struct level_judge *judge, uint64_t ms, uint64_t some_ms,
			     uint64_t full_ms, uint64_t held_mib)
{
	struct level_sample sample = used_at(ms * (SECOND / 1000), held_mib);

	sample.has_stalls = true;
	sample.stalls = (struct level_stalls){some_ms * 1000, full_ms * 1000};
	return level_judge(judge, &sample);
}

static void stalls_are_a_share_of_time(void **state)
{
	struct level_judge judge = {LEVEL_NONE};

	(void)state;
	/* What was before the first sample is nobody's. */
	assert_int_equal(stalled_at(&judge, 1000, 99000, 90000, 600), LEVEL_NONE);
	assert_int_equal(stalled_at(&judge, 2000, 99049, 90000, 600), LEVEL_NONE);
	assert_int_equal(stalled_at(&judge, 3000, 99099, 90000, 600), LEVEL_SOME);
	/* A window that is too short is no window. */
	assert_int_equal(stalled_at(&judge, 3100, 99199, 90100, 600), LEVEL_SOME);
	assert_int_equal(stalled_at(&judge, 4000, 99299, 90100, 600), LEVEL_FULL);
	assert_true(judge.is_pressing);
	assert_int_equal(stalled_at(&judge, 5000, 99299, 90100, 600), LEVEL_FULL);
	assert_false(judge.is_pressing);
	assert_int_equal(stalled_at(&judge, 6000, 99299, 90100, 600), LEVEL_NONE);
	/* A counter that falls is another file's. */
	assert_int_equal(stalled_at(&judge, 7000, 5, 5, 600), LEVEL_NONE);
}

/* A file that cannot be read for a moment tells of no stalls, then or after. */
static void a_window_begins_with_what_could_be_read(void **state)
{
	struct level_judge judge = {LEVEL_NONE};
	struct level_sample unread = used_at(3 * SECOND, 600);

	(void)state;
	assert_int_equal(stalled_at(&judge, 1000, 99000, 90000, 600), LEVEL_NONE);
	assert_int_equal(stalled_at(&judge, 2000, 99000, 90000, 600), LEVEL_NONE);
	assert_int_equal(level_judge(&judge, &unread), LEVEL_NONE);
	assert_int_equal(stalled_at(&judge, 4000, 99000, 90000, 600), LEVEL_NONE);
	assert_int_equal(stalled_at(&judge, 5000, 99000, 90000, 600), LEVEL_NONE);
	assert_int_equal(stalled_at(&judge, 6000, 99300, 90000, 600), LEVEL_SOME);
}

static char root[] = "/tmp/hak-test-XXXXXX";

static void write_in(const char *folder, const char *name, const char *text)
{
	char path[200];
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void remove_in(const char *folder)
{
	static const char *const names[] = {"memory.max", "memory.high", "memory.current",
					    "memory.stat"};
	char path[200];

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		snprintf(path, sizeof path, "%s/%s", folder, names[i]);
		unlink(path);
	}
	assert_int_equal(rmdir(folder), 0);
}

/* The lower of two, of a group and of what is above it; the fullest counts. */
static void limits_of_version_2(void **state)
{
	struct cgroup_place place = {.is_version2 = true};
	struct cgroup_limits limits;
	struct level_room room;
	char parent[100];

	(void)state;
	assert_non_null(mkdtemp(root));
	place.limits_base = strlen(root);
	snprintf(parent, sizeof parent, "%s/a.slice", root);
	snprintf(place.limits, sizeof place.limits, "%s/b.service", parent);
	assert_int_equal(mkdir(parent, 0700), 0);
	assert_int_equal(mkdir(place.limits, 0700), 0);
	/* The mount point's own are no limits of a group. */
	write_in(root, "memory.max", "1\n");
	write_in(parent, "memory.max", "max\n");
	write_in(parent, "memory.high", "max\n");
	write_in(place.limits, "memory.max", "max\n");
	write_in(place.limits, "memory.high", "max\n");
	write_in(place.limits, "memory.current", "62914560\n");
	write_in(place.limits, "memory.stat", "anon 1\ninactive_file 10485760\n");
	cgroup_find_limits(&place, &limits);
	assert_int_equal(limits.count, 0);
	cgroup_read_room(&place, &limits, &room);
	assert_int_equal(room.limit_bytes, 0);

	write_in(place.limits, "memory.high", "104857600\n");
	write_in(place.limits, "memory.max", "209715200\n");
	cgroup_find_limits(&place, &limits);
	assert_int_equal(limits.count, 1);
	cgroup_read_room(&place, &limits, &room);
	assert_int_equal(room.limit_bytes, 100 * MIB);
	assert_int_equal(room.held_bytes, 60 * MIB);
	assert_int_equal(room.used_bytes, 50 * MIB);

	write_in(parent, "memory.max", "1073741824\n");
	write_in(parent, "memory.current", "943718400\n");
	write_in(parent, "memory.stat", "inactive_file 0\n");
	cgroup_find_limits(&place, &limits);
	assert_int_equal(limits.count, 2);
	cgroup_read_room(&place, &limits, &room);
	assert_int_equal(room.limit_bytes, 1024 * MIB);
	assert_int_equal(room.used_bytes, 900 * MIB);
	remove_in(place.limits);
	remove_in(parent);
	remove_in(root);
}

static void stalls_where_there_is_room_are_anothers(void **state)
{
	struct level_judge judge = {LEVEL_NONE};
	struct level_sample sample = used_at(SECOND, 400);

	(void)state;
	assert_int_equal(stalled_at(&judge, 1000, 0, 0, 400), LEVEL_NONE);
	assert_int_equal(stalled_at(&judge, 2000, 900, 900, 400), LEVEL_NONE);
	assert_false(judge.is_pressing);
	sample.now_ns = 3 * SECOND;
	sample.told = LEVEL_FULL;
	assert_int_equal(level_judge(&judge, &sample), LEVEL_NONE);
	sample.room.held_bytes = 600 * MIB;
	assert_int_equal(level_judge(&judge, &sample), LEVEL_FULL);
	/* Where nothing is known of the room, the kernel is believed. */
	judge = (struct level_judge){LEVEL_NONE};
	sample.room = (struct level_room){0};
	assert_int_equal(level_judge(&judge, &sample), LEVEL_FULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stalls_are_read),
		cmocka_unit_test(memory_is_read),
		cmocka_unit_test(both_versions_are_found),
		cmocka_unit_test(odd_places_are_none),
		cmocka_unit_test(room_has_a_high_and_a_low_mark),
		cmocka_unit_test(pressing_ends_before_the_level),
		cmocka_unit_test(stalls_are_a_share_of_time),
		cmocka_unit_test(a_window_begins_with_what_could_be_read),
		cmocka_unit_test(limits_of_version_2),
		cmocka_unit_test(stalls_where_there_is_room_are_anothers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
