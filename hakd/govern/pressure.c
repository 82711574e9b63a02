#include "govern/pressure.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* In one turn of the loop: the rest is readable in the next. */
#define WAKE_MAX 32

/* What fires: 5 % of some, 10 % of all, as in level.h; without CAP_SYS_RESOURCE of 2 s. */
#define SOME_US_A_SECOND 50000
#define FULL_US_A_SECOND 100000

static const char *const stall_triggers[][2] = {
	{"some 50000 1000000", "full 100000 1000000"},
	{"some 100000 2000000", "full 200000 2000000"},
};
#define TRIGGER_WINDOWS (sizeof stall_triggers / sizeof stall_triggers[0])

/* Version 1 tells of this share of a limit, in hundredths. */
#define THRESHOLD_SHARE 90

const char *pressure_source_text(enum pressure_source source)
{
	static const char *const texts[] = {"none", "polled", "triggers"};

	return texts[source];
}

/* An event carries the id and which of the three it is. */
static uint64_t tag_of(uint64_t id, enum pressure_event event)
{
	return id << 2 | event;
}

static bool follow(struct pressure *pressure, struct pressure_watch *watch,
		   enum pressure_event event, int fd, uint32_t what)
{
	struct epoll_event wanted = {.events = what, .data.u64 = tag_of(watch->id, event)};

	if (epoll_ctl(pressure->epoll, EPOLL_CTL_ADD, fd, &wanted) != 0)
		return false;
	watch->fds[event] = fd;
	return true;
}

/* A trigger lives as long as its descriptor; the text is written with its NUL. */
static int set_trigger(struct pressure *pressure, struct pressure_watch *watch, const char *path,
		       enum pressure_event event, size_t window)
{
	const char *trigger = stall_triggers[window][event];
	int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC), error;

	if (fd < 0)
		return -errno;
	if (write(fd, trigger, strlen(trigger) + 1) >= 0 &&
	    follow(pressure, watch, event, fd, EPOLLPRI))
		return 0;
	error = -errno;
	close(fd);
	return error;
}

static void release(struct pressure_watch *watch)
{
	for (enum pressure_event i = 0; i < PRESSURE_EVENTS; i++) {
		/* Closing takes it out of the epoll set. */
		if (watch->fds[i] >= 0)
			close(watch->fds[i]);
		watch->fds[i] = -1;
	}
}

/* Both or none, at the shortest window that is allowed: its number, or an errno below 0. */
static int set_triggers(struct pressure *pressure, struct pressure_watch *watch, const char *path)
{
	int error = 0;

	for (size_t window = 0; window < TRIGGER_WINDOWS; window++) {
		error = set_trigger(pressure, watch, path, PRESSURE_EVENT_SOME, window);
		if (error == 0)
			error = set_trigger(pressure, watch, path, PRESSURE_EVENT_FULL, window);
		if (error == 0)
			return (int)window;
		release(watch);
		/* EINVAL is what a window that is too short gets, and may be all that. */
		if (error != -EINVAL)
			break;
	}
	return error;
}

static void say_source(const struct pressure *pressure)
{
	if (pressure->source == PRESSURE_SOURCE_TRIGGER)
		log_say(LOG_INFO, "The kernel tells of memory pressure, by windows of %u s.",
			pressure->window_seconds);
	else if (pressure->source == PRESSURE_SOURCE_POLLED)
		log_say(LOG_WARNING,
			"The kernel allows no trigger of memory pressure (%s): %s/memory is read "
			"every 2 s.",
			strerror(pressure->source_error), pressure->stalls_folder);
	else
		log_say(LOG_WARNING,
			"The kernel does not tell of memory pressure (%s/memory: %s): only limits "
			"and MemAvailable are read, every 2 s.",
			pressure->stalls_folder, strerror(pressure->source_error));
}

int pressure_init(struct pressure *pressure, const char *stalls_folder)
{
	struct level_stalls stalls;
	char path[CGROUP_PATH_BYTES], text[512];
	int window;

	*pressure = (struct pressure){
		.epoll = epoll_create1(EPOLL_CLOEXEC),
		.stalls_folder = stalls_folder,
		.system = {.fds = {-1, -1, -1}},
	};
	if (pressure->epoll < 0)
		return -errno;
	cgroup_read_mounts(&pressure->mounts);
	snprintf(path, sizeof path, "%s/memory", stalls_folder);
	window = set_triggers(pressure, &pressure->system, path);
	if (window >= 0) {
		pressure->source = PRESSURE_SOURCE_TRIGGER;
		pressure->window_seconds = (unsigned)window + 1;
	} else {
		pressure->source_error = -window;
		if (cgroup_read_file(stalls_folder, "memory", text, sizeof text) > 0 &&
		    level_parse_stalls(text, &stalls))
			pressure->source = PRESSURE_SOURCE_POLLED;
	}
	/* What was before is nobody's. */
	if (cgroup_read_file(stalls_folder, "memory", text, sizeof text) > 0)
		(void)level_parse_stalls(text, &pressure->system.stalls);
	say_source(pressure);
	return 0;
}

static void let_go(struct pressure *pressure, struct pressure_watch *watch)
{
	release(watch);
	*watch = (struct pressure_watch){.fds = {-1, -1, -1}};
	pressure->group_count--;
}

void pressure_deinit(struct pressure *pressure)
{
	for (size_t i = 0; i < PRESSURE_GROUPS_MAX; i++)
		if (pressure->groups[i].id != 0)
			let_go(pressure, &pressure->groups[i]);
	if (pressure->epoll < 0)
		return;
	release(&pressure->system);
	close(pressure->epoll);
	pressure->epoll = -1;
}

/* The place of an id is its remainder, so that nothing has to be searched. */
static struct pressure_watch *find(struct pressure *pressure, uint64_t id)
{
	struct pressure_watch *watch = &pressure->groups[id % PRESSURE_GROUPS_MAX];

	return id != 0 && watch->id == id ? watch : NULL;
}

const struct pressure_watch *pressure_find(const struct pressure *pressure, uint64_t id)
{
	const struct pressure_watch *watch = &pressure->groups[id % PRESSURE_GROUPS_MAX];

	return id != 0 && watch->id == id ? watch : NULL;
}

/* Version 2 changes memory.events when usage meets a limit, which wakes by EPOLLPRI once it has
 * been read. */
static void follow_events(struct pressure *pressure, struct pressure_watch *watch)
{
	char path[CGROUP_PATH_BYTES + 32], text[256];
	int fd;

	snprintf(path, sizeof path, "%.*s/memory.events", (int)watch->limits.lengths[0],
		 watch->place.limits);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	if (read(fd, text, sizeof text) < 0 ||
	    !follow(pressure, watch, PRESSURE_EVENT_LIMIT, fd, EPOLLPRI))
		close(fd);
}

/* Version 1 counts up an eventfd when usage crosses a number of bytes. */
static void follow_threshold(struct pressure *pressure, struct pressure_watch *watch)
{
	char folder[CGROUP_PATH_BYTES], path[CGROUP_PATH_BYTES + 32], line[128];
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), usage, control;
	struct level_room room;
	bool works;

	snprintf(folder, sizeof folder, "%.*s", (int)watch->limits.lengths[0], watch->place.limits);
	cgroup_read_room(&watch->place, &watch->limits, &room);
	snprintf(path, sizeof path, "%s/memory.usage_in_bytes", folder);
	usage = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof path, "%s/cgroup.event_control", folder);
	control = open(path, O_WRONLY | O_CLOEXEC);
	snprintf(line, sizeof line, "%d %d %llu", fd, usage,
		 (unsigned long long)(room.limit_bytes / 100 * THRESHOLD_SHARE));
	works = fd >= 0 && usage >= 0 && control >= 0 && room.limit_bytes != 0 &&
		write(control, line, strlen(line)) > 0 &&
		follow(pressure, watch, PRESSURE_EVENT_LIMIT, fd, EPOLLIN);
	if (usage >= 0)
		close(usage);
	if (control >= 0)
		close(control);
	if (!works && fd >= 0)
		close(fd);
}

/* Whoever finds a limit for the first time, or another one, follows it. */
static void look_for_limits(struct pressure *pressure, struct pressure_watch *watch)
{
	struct cgroup_limits before = watch->limits;

	if (watch->place.limits[0] == '\0')
		return;
	cgroup_find_limits(&watch->place, &watch->limits);
	if (memcmp(&before, &watch->limits, sizeof before) == 0)
		return;
	if (watch->fds[PRESSURE_EVENT_LIMIT] >= 0)
		close(watch->fds[PRESSURE_EVENT_LIMIT]);
	watch->fds[PRESSURE_EVENT_LIMIT] = -1;
	if (watch->limits.count == 0)
		return;
	if (watch->place.is_version2)
		follow_events(pressure, watch);
	else
		follow_threshold(pressure, watch);
}

static struct pressure_watch *begin(struct pressure *pressure, const struct cgroup_place *place)
{
	char path[CGROUP_PATH_BYTES + 32];
	struct pressure_watch *watch = NULL;

	for (size_t i = 0; i < PRESSURE_GROUPS_MAX && watch == NULL; i++) {
		uint64_t id = pressure->last_id + 1 + i;

		/* 0 is no id. */
		if (pressure->groups[id % PRESSURE_GROUPS_MAX].id == 0) {
			watch = &pressure->groups[id % PRESSURE_GROUPS_MAX];
			pressure->last_id = id;
		}
	}
	if (watch == NULL)
		return NULL;
	*watch = (struct pressure_watch){
		.id = pressure->last_id, .place = *place, .fds = {-1, -1, -1}};
	pressure->group_count++;
	snprintf(path, sizeof path, "%s/memory.pressure", place->stalls);
	if (place->stalls[0] != '\0')
		(void)set_triggers(pressure, watch, path);
	look_for_limits(pressure, watch);
	return watch;
}

static void sample_stalls(struct level_sample *sample, const char *folder, const char *name)
{
	char text[512];

	sample->has_stalls = folder[0] != '\0' &&
			     cgroup_read_file(folder, name, text, sizeof text) > 0 &&
			     level_parse_stalls(text, &sample->stalls);
}

static void judge(struct pressure *pressure, struct pressure_watch *watch,
		  enum pressure_scope scope, struct level_sample *sample)
{
	enum level before = watch->judge.level;
	enum level now = level_judge(&watch->judge, sample);

	watch->room = sample->room;
	watch->told = LEVEL_NONE;
	if (now > before)
		pressure->event_totals[scope][now]++;
	if (now != before)
		log_say(now > before ? LOG_INFO : LOG_DEBUG, "Memory pressure of %s%s is '%s'.",
			scope == PRESSURE_SYSTEM ? "the system" : "the group ",
			scope == PRESSURE_SYSTEM	 ? ""
			: watch->place.limits[0] != '\0' ? watch->place.limits
							 : watch->place.stalls,
			level_text(now));
}

/* Woken by we do not know which: whose stalls have grown by as much as fires, it was. */
static void find_trigger(const struct pressure *pressure, struct pressure_watch *watch,
			 const struct level_stalls *now)
{
	const struct level_stalls *before = &watch->stalls;
	unsigned seconds = pressure->window_seconds > 1 ? pressure->window_seconds : 1;

	if (watch->fds[PRESSURE_EVENT_SOME] < 0)
		return;
	if (level_rise(before->full_us, now->full_us) >= FULL_US_A_SECOND * seconds)
		watch->told = LEVEL_FULL;
	else if (level_rise(before->some_us, now->some_us) >= SOME_US_A_SECOND * seconds &&
		 watch->told < LEVEL_SOME)
		watch->told = LEVEL_SOME;
}

static void take_stalls(const struct pressure *pressure, struct pressure_watch *watch,
			struct level_sample *sample, bool is_woken)
{
	if (sample->has_stalls && is_woken)
		find_trigger(pressure, watch, &sample->stalls);
	/* One that could not be read leaves the last. */
	if (sample->has_stalls)
		watch->stalls = sample->stalls;
	sample->told = watch->told;
}

static void sample_system(struct pressure *pressure, bool is_woken, uint64_t now_ns)
{
	struct level_sample sample = {.now_ns = now_ns};
	char text[2048];

	if (pressure->source != PRESSURE_SOURCE_NONE)
		sample_stalls(&sample, pressure->stalls_folder, "memory");
	take_stalls(pressure, &pressure->system, &sample, is_woken);
	if (cgroup_read_file("/proc", "meminfo", text, sizeof text) > 0)
		(void)level_parse_meminfo(text, &sample.room);
	judge(pressure, &pressure->system, PRESSURE_SYSTEM, &sample);
}

/* A group without a limit of its own is as full as the machine. */
static void sample_group(struct pressure *pressure, struct pressure_watch *watch, bool is_woken,
			 uint64_t now_ns)
{
	struct level_sample sample = {.now_ns = now_ns};

	sample_stalls(&sample, watch->place.stalls, "memory.pressure");
	take_stalls(pressure, watch, &sample, is_woken);
	cgroup_read_room(&watch->place, &watch->limits, &sample.room);
	/* Of one of which nothing at all is known any more nothing presses. */
	if (sample.room.limit_bytes == 0 && (sample.has_stalls || sample.told != LEVEL_NONE))
		sample.room = pressure->system.room;
	judge(pressure, watch, PRESSURE_CGROUP, &sample);
}

uint64_t pressure_watch(struct pressure *pressure, pid_t pid, uint64_t now_ns)
{
	struct pressure_watch *watch = NULL;
	struct cgroup_place place;

	if (pressure->epoll < 0 || !cgroup_read_place(&pressure->mounts, pid, &place))
		return 0;
	for (size_t i = 0; i < PRESSURE_GROUPS_MAX && watch == NULL; i++)
		if (pressure->groups[i].id != 0 &&
		    strcmp(pressure->groups[i].place.stalls, place.stalls) == 0 &&
		    strcmp(pressure->groups[i].place.limits, place.limits) == 0)
			watch = &pressure->groups[i];
	if (watch == NULL) {
		watch = begin(pressure, &place);
		if (watch == NULL) {
			pressure->overflow_total++;
			return 0;
		}
		sample_group(pressure, watch, false, now_ns);
	}
	watch->is_seen = true;
	return watch->id;
}

bool pressure_keep(struct pressure *pressure, uint64_t id)
{
	struct pressure_watch *watch = find(pressure, id);

	if (watch == NULL || watch->is_gone)
		return false;
	watch->is_seen = true;
	return true;
}

void pressure_sweep(struct pressure *pressure)
{
	for (size_t i = 0; i < PRESSURE_GROUPS_MAX; i++) {
		struct pressure_watch *watch = &pressure->groups[i];

		if (watch->id != 0 && (!watch->is_seen || watch->is_gone))
			let_go(pressure, watch);
		watch->is_seen = false;
	}
}

/* What a poll has told. A group that is removed gives POLLERR for ever: it is let go by the next
 * sweep, and until then its descriptors are out of the set. */
static void note(struct pressure *pressure, const struct epoll_event *event)
{
	uint64_t id = event->data.u64 >> 2, count;
	enum pressure_event which = (enum pressure_event)(event->data.u64 & 3);
	struct pressure_watch *watch = id == 0 ? &pressure->system : find(pressure, id);
	char text[256];

	if (watch == NULL)
		return;
	if (which != PRESSURE_EVENT_LIMIT) {
		enum level level = which == PRESSURE_EVENT_FULL ? LEVEL_FULL : LEVEL_SOME;

		if ((event->events & EPOLLERR) != 0) {
			release(watch);
			watch->is_gone = true;
		} else if (level > watch->told) {
			watch->told = level;
		}
		return;
	}
	/* The room says how much that is; it is read here only to be told again. */
	if (watch->place.is_version2) {
		if (pread(watch->fds[which], text, sizeof text, 0) < 0) {
			release(watch);
			watch->is_gone = true;
		}
	} else if (read(watch->fds[which], &count, sizeof count) > 0 &&
		   access(watch->place.limits, F_OK) != 0) {
		/* The kernel counts up once more when the group is removed. */
		watch->is_gone = true;
	}
}

static void sample_all(struct pressure *pressure, bool is_woken, uint64_t now_ns)
{
	sample_system(pressure, is_woken, now_ns);
	for (size_t i = 0; i < PRESSURE_GROUPS_MAX; i++)
		if (pressure->groups[i].id != 0)
			sample_group(pressure, &pressure->groups[i], is_woken, now_ns);
}

void pressure_wake(struct pressure *pressure, uint64_t now_ns)
{
	struct epoll_event events[WAKE_MAX];
	int count = epoll_wait(pressure->epoll, events, WAKE_MAX, 0);

	for (int i = 0; i < count; i++)
		note(pressure, &events[i]);
	sample_all(pressure, true, now_ns);
}

void pressure_tick(struct pressure *pressure, uint64_t now_ns)
{
	if (pressure->epoll < 0)
		return;
	if (++pressure->tick_count % PRESSURE_LIMITS_TICKS == 0)
		for (size_t i = 0; i < PRESSURE_GROUPS_MAX; i++)
			if (pressure->groups[i].id != 0)
				look_for_limits(pressure, &pressure->groups[i]);
	sample_all(pressure, false, now_ns);
}

void pressure_look(struct pressure *pressure, uint64_t now_ns)
{
	if (pressure->system.judge.is_pressing)
		sample_system(pressure, false, now_ns);
	for (size_t i = 0; i < PRESSURE_GROUPS_MAX; i++) {
		struct pressure_watch *watch = &pressure->groups[i];

		if (watch->id != 0 && watch->judge.is_pressing)
			sample_group(pressure, watch, false, now_ns);
	}
}

enum level pressure_level(const struct pressure *pressure)
{
	enum level highest = pressure->system.judge.level;

	for (size_t i = 0; i < PRESSURE_GROUPS_MAX; i++)
		if (pressure->groups[i].judge.level > highest)
			highest = pressure->groups[i].judge.level;
	return highest;
}

bool pressure_is_pressing(const struct pressure *pressure)
{
	bool is_pressing = pressure->system.judge.is_pressing;

	for (size_t i = 0; i < PRESSURE_GROUPS_MAX && !is_pressing; i++)
		is_pressing = pressure->groups[i].judge.is_pressing;
	return is_pressing;
}

bool pressure_is_valid(const struct pressure *pressure)
{
	size_t count = 0;

	for (size_t i = 0; i < PRESSURE_GROUPS_MAX; i++) {
		uint64_t id = pressure->groups[i].id;

		if (id == 0)
			continue;
		count++;
		if (id % PRESSURE_GROUPS_MAX != i || id > pressure->last_id)
			return false;
	}
	return count == pressure->group_count;
}
