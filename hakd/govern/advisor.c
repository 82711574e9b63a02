#include "govern/advisor.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

static void step(struct advisor *advisor);

static struct client *client_of(struct advisor *advisor, const struct advisor_job *job)
{
	struct client *client = table_find(advisor->table, job->pid);

	return client != NULL && client->registered_ns == job->registered_ns ? client : NULL;
}

/* Of a step under pressure the governor tells, and of one that found nothing to do nobody. */
static void note(struct advisor *advisor, const struct advisor_job *job,
		 const struct client *client, bool is_done)
{
	const struct governor_action action = {
		.pid = client->pid,
		.method = HISTORY_REMOTE,
		.trigger = job->trigger == ADVISOR_COMMAND ? GOVERNOR_COMMAND : GOVERNOR_DECAY,
		.target_bytes = job->trigger == ADVISOR_COMMAND ? job->bytes_max
								: job->advised_bytes,
	};

	if (job->is_look || job->trigger == ADVISOR_PRESSURE ||
	    (job->trigger == ADVISOR_IDLE && job->advised_bytes == 0))
		return;
	actions_note_client(advisor->actions, client, &action,
			    is_done || job->released_bytes != 0 ? ACTIONS_DONE : ACTIONS_FAILED,
			    job->released_bytes, clock_now_ns() - job->begin_ns);
}

/* Ends the first job. */
static void finish(struct advisor *advisor, bool is_done)
{
	struct advisor_job *job = TAILQ_FIRST(&advisor->jobs);
	struct client *client = client_of(advisor, job);

	if (client != NULL && !job->is_look) {
		note(advisor, job, client, is_done);
		client->release_ack = job->request;
		client->release_bytes = job->released_bytes;
		client->release_failed = !is_done;
		client->is_releasing = false;
		if (!is_done)
			client->released_sequence = 0; /* as no sequence is: once more */
	}
	TAILQ_REMOVE(&advisor->jobs, job, entry);
	advisor->job_count--;
	free(job);
}

static void give_up_all(struct advisor *advisor)
{
	advisor->is_under_way = false;
	while (!TAILQ_EMPTY(&advisor->jobs))
		finish(advisor, false);
}

/* The advisor has not answered for so long that it is this client which holds it up: files of its
 * own that hang can do that (the kernel waits for an exec that is under way). */
static void bar_who_holds_up(struct advisor *advisor)
{
	struct client *client;

	if (!advisor->is_under_way || clock_now_ns() - advisor->sent_ns < ADVISOR_HELD_UP_NS)
		return;
	client = client_of(advisor, TAILQ_FIRST(&advisor->jobs));
	if (client == NULL)
		return;
	client->is_barred = true;
	log_say(LOG_WARNING,
		"The advisor did not come back from process %d (%s): nothing is taken from it any "
		"more.",
		client->pid, client->identity.comm);
}

/* Others are next, while there is more. */
static void go_round(struct advisor *advisor)
{
	struct advisor_job *job = TAILQ_FIRST(&advisor->jobs);

	TAILQ_REMOVE(&advisor->jobs, job, entry);
	TAILQ_INSERT_TAIL(&advisor->jobs, job, entry);
}

static void pause_for(struct advisor *advisor, uint64_t pause_ns)
{
	const struct timeval pause = {
		.tv_sec = (time_t)(pause_ns / CLOCK_SECOND_NS),
		.tv_usec = (suseconds_t)(pause_ns % CLOCK_SECOND_NS / 1000),
	};

	advisor->is_paused = true;
	event_add(advisor->again, &pause);
}

static void on_again(evutil_socket_t fd, short what, void *context)
{
	struct advisor *advisor = context;

	(void)fd;
	(void)what;
	advisor->is_paused = false;
	step(advisor);
}

static bool ask(struct advisor *advisor, struct client *client, bool is_look)
{
	static struct hak_reclaim_request request;

	if (!is_look)
		client_note_reclaim(client, clock_now_ns());
	request = (struct hak_reclaim_request){
		.version = HAK_RECLAIM_VERSION,
		.advice = is_look ? HAK_RECLAIM_LOOK : HAK_RECLAIM_PAGEOUT,
		.number = advisor->number + 1,
		.range_count = is_look ? 0 : advisor->batch.range_count,
		.device_major = major(client->device),
		.device_minor = minor(client->device),
		.inode = client->inode,
		.region_base = client->hello.region_base,
		.superslab_count = client->hello.superslab_count,
	};
	memcpy(request.ranges, advisor->batch.ranges,
	       request.range_count * sizeof request.ranges[0]);
	if (!line_send(&advisor->line, &request, client->pidfd))
		return false;
	advisor->number++;
	advisor->sent_ns = clock_now_ns();
	advisor->is_under_way = true;
	return true;
}

static bool is_left_alone(const struct advisor *advisor, const struct client *client)
{
	const struct allot *allot = &advisor->table->allot;

	return allot_is_exempt(client) || !allot_takes_remote(allot, client);
}

static bool is_resting(const struct advisor *advisor)
{
	return advisor->is_resting != NULL &&
	       advisor->is_resting(advisor->resting_context, clock_now_ns());
}

/* Policy, or a pause, may have come since the job was taken on. */
static bool may_go_on(const struct advisor *advisor, const struct advisor_job *job,
		      const struct client *client)
{
	return job->is_look || job->trigger == ADVISOR_COMMAND ||
	       (!is_resting(advisor) && !is_left_alone(advisor, client) &&
		!allot_is_dry(&advisor->table->allot, client));
}

/* Makes the next batch of the first job and sends it. Each turn ends a job, sends, or pauses. */
static void send_next(struct advisor *advisor)
{
	struct advisor_job *job = TAILQ_FIRST(&advisor->jobs);
	struct client *client = client_of(advisor, job);
	bool more = false;

	if (client == NULL || client->is_barred || !may_go_on(advisor, job, client)) {
		finish(advisor, false);
		return;
	}
	advisor->batch_begin = job->next_superslab;
	if (!job->is_look && !job->is_unsure) {
		if (job->bytes_max != 0 && job->advised_bytes >= job->bytes_max) {
			finish(advisor, true);
			return;
		}
		more = rows_collect(&client->rows, &job->next_superslab, &advisor->batch);
		if (advisor->batch.range_count == 0 && more) {
			go_round(advisor);
			pause_for(advisor, 0);
			return;
		}
		if (advisor->batch.range_count == 0) {
			finish(advisor, true);
			return;
		}
	}
	if (!ask(advisor, client, job->is_look || job->is_unsure)) {
		job->next_superslab = advisor->batch_begin;
		pause_for(advisor, CLOCK_SECOND_NS / 100);
	}
}

static void step(struct advisor *advisor)
{
	if (advisor->line.state == LINE_UNAVAILABLE || advisor->line.state == LINE_OFF)
		give_up_all(advisor);
	while (advisor->line.state == LINE_READY && !advisor->is_under_way && !advisor->is_paused &&
	       !TAILQ_EMPTY(&advisor->jobs))
		send_next(advisor);
}

static void note_done(struct advisor *advisor, struct advisor_job *job, struct client *client,
		      const struct hak_reclaim_answer *answer)
{
	uint64_t asked = (uint64_t)advisor->batch.page_count << HAK_RECLAIM_PAGE_SHIFT;
	uint64_t taken = answer->advised_bytes < asked ? answer->advised_bytes : asked;

	job->advised_bytes += taken;
	job->released_bytes += answer->released_bytes;
	advisor->advised_bytes[HAK_RECLAIM_PAGEOUT] += taken;
	advisor->dropped_bytes[HAK_RECLAIM_PAGEOUT] += asked - taken;
	advisor->swapped_bytes += answer->swapped_bytes;
	client->group->released_bytes += answer->released_bytes;
	if (answer->released_bytes != 0)
		client_confirm_reclaim(client);
	if (!rows_note(&client->rows, &advisor->batch, answer->dropped_count == 0))
		job->next_superslab = client->hello.superslab_count; /* no room for more */
	client_count(client);
}

static void on_answer(void *context, const struct hak_reclaim_answer *answer)
{
	struct advisor *advisor = context;
	struct advisor_job *job = TAILQ_FIRST(&advisor->jobs);
	struct client *client;

	/* Who is asked again later has forgotten what was asked before. */
	if (answer == NULL) {
		bar_who_holds_up(advisor);
		if (advisor->is_under_way)
			job->next_superslab = advisor->batch_begin;
		advisor->is_under_way = false;
		step(advisor);
		return;
	}
	if (!advisor->is_under_way || answer->number != advisor->number)
		return;
	advisor->is_under_way = false;
	client = client_of(advisor, job);
	if (client == NULL) {
		finish(advisor, false);
	} else if (answer->result == HAK_RECLAIM_GONE) {
		finish(advisor, false);
		table_lose(advisor->table, client, clock_now_ns());
	} else if (answer->result == HAK_RECLAIM_LIMITED) {
		job->next_superslab = advisor->batch_begin;
		go_round(advisor);
		pause_for(advisor,
			  answer->wait_ns < CLOCK_SECOND_NS ? answer->wait_ns : CLOCK_SECOND_NS);
	} else if (answer->result != HAK_RECLAIM_DONE || job->is_look) {
		client->is_suspect = client->is_suspect && answer->result != HAK_RECLAIM_DONE;
		if (!job->is_look)
			log_say(LOG_INFO, "The advisor takes nothing of process %d (%s): %s.",
				client->pid, client->identity.comm,
				hak_reclaim_result_text(answer->result));
		finish(advisor, answer->result == HAK_RECLAIM_DONE);
	} else if (job->is_unsure) {
		job->is_unsure = false;
	} else {
		note_done(advisor, job, client, answer);
		go_round(advisor);
	}
	step(advisor);
}

bool advisor_is_available(const struct advisor *advisor)
{
	return advisor->line.state == LINE_READY || advisor->line.state == LINE_WAITING;
}

static struct advisor_job *add_job(struct advisor *advisor, const struct client *client,
				   size_t jobs_max)
{
	struct advisor_job *job;

	if (advisor->job_count >= jobs_max) {
		advisor->refused_count++;
		return NULL;
	}
	job = calloc(1, sizeof *job);
	if (job == NULL)
		return NULL;
	job->pid = client->pid;
	job->registered_ns = client->registered_ns;
	job->begin_ns = clock_now_ns();
	TAILQ_INSERT_TAIL(&advisor->jobs, job, entry);
	advisor->job_count++;
	return job;
}

/* The job that is there does this one's work too, and is a command's from then on, if this is. */
static void join_job(struct advisor *advisor, const struct client *client, uint64_t bytes_max,
		     enum advisor_trigger trigger)
{
	struct advisor_job *job;

	TAILQ_FOREACH(job, &advisor->jobs, entry)
	{
		if (job->pid != client->pid || job->is_look)
			continue;
		if (job->bytes_max != 0)
			job->bytes_max = bytes_max == 0 ? 0 : job->advised_bytes + bytes_max;
		if (trigger == ADVISOR_COMMAND)
			job->trigger = trigger;
	}
}

enum advisor_outcome advisor_release(struct advisor *advisor, struct client *client,
				     uint64_t bytes_max, enum advisor_trigger trigger)
{
	struct advisor_job *job;

	if (!advisor_is_available(advisor))
		return ADVISOR_UNAVAILABLE;
	if (client->is_barred)
		return ADVISOR_BARRED;
	if (client->is_releasing) {
		join_job(advisor, client, bytes_max, trigger);
		return ADVISOR_TAKEN;
	}
	job = add_job(advisor, client,
		      trigger == ADVISOR_IDLE ? ADVISOR_JOBS_MAX - ADVISOR_JOBS_KEPT
					      : ADVISOR_JOBS_MAX);
	if (job == NULL)
		return ADVISOR_FULL;
	job->trigger = trigger;
	/* Somebody waits for the answer, even where there is nothing to advise. */
	job->is_unsure = trigger == ADVISOR_COMMAND;
	job->bytes_max = bytes_max;
	job->request = ++client->release_request;
	client->is_releasing = true;
	/* The caller's client stays, whatever the first answer will be. */
	if (!advisor->is_under_way && !advisor->is_paused)
		pause_for(advisor, 0);
	return ADVISOR_TAKEN;
}

/* Once in each time of rest: what cannot be advised is not looked at again until the client has
 * written anew. */
static bool is_worth_it(const struct client *client)
{
	return !client->is_releasing && client->copied_sequence != client->released_sequence &&
	       client->telemetry.lazyfree_bytes >= client->rows.returned_bytes + ADVISOR_BYTES_MIN;
}

static void look_at(struct advisor *advisor, struct client *client, uint64_t now_ns)
{
	struct advisor_job *job = add_job(advisor, client, ADVISOR_JOBS_MAX - ADVISOR_JOBS_KEPT);

	if (job == NULL)
		return;
	job->is_look = true;
	client->looked_ns = now_ns;
}

/* In a dry run it is only told, once for each time of rest. */
static bool release_or_tell(struct advisor *advisor, struct client *client)
{
	const struct governor_action action = {
		.pid = client->pid,
		.method = HISTORY_REMOTE,
		.trigger = GOVERNOR_DECAY,
		.target_bytes = client_lazyfree_bytes(client),
		.is_dry_run = true,
	};

	if (!allot_is_dry(&advisor->table->allot, client))
		return advisor_release(advisor, client, 0, ADVISOR_IDLE) == ADVISOR_TAKEN;
	actions_note_client(advisor->actions, client, &action, ACTIONS_DRY_RUN, 0, 0);
	return true;
}

/* Releases who is due. Returns when to look again, 0 where everybody has been at rest for long. */
static uint64_t release_idle(struct advisor *advisor, uint64_t now_ns)
{
	struct client *client, *next;
	uint64_t pause_ns = 0;

	table_refresh(advisor->table, now_ns);
	HASH_ITER(hh, advisor->table->by_pid, client, next)
	{
		uint64_t age_ns = (uint64_t)(client_age_seconds(client, now_ns) * 1e9);

		if (pause_ns == 0 && age_ns < ADVISOR_ACTIVE_NS)
			pause_ns = ADVISOR_LOOK_NS;
		if (!is_worth_it(client) || is_left_alone(advisor, client))
			continue;
		if (age_ns < ADVISOR_IDLE_NS) {
			if (ADVISOR_IDLE_NS - age_ns < pause_ns)
				pause_ns = ADVISOR_IDLE_NS - age_ns;
		} else if (release_or_tell(advisor, client)) {
			client->released_sequence = client->copied_sequence;
		}
	}
	return pause_ns;
}

static void look(struct advisor *advisor, uint64_t now_ns)
{
	uint64_t pause_ns = is_resting(advisor) ? 0 : release_idle(advisor, now_ns);
	const struct timeval pause = {
		.tv_usec = (suseconds_t)((pause_ns > ADVISOR_PAUSE_NS ? pause_ns
								      : ADVISOR_PAUSE_NS) /
					 1000),
	};

	if (pause_ns != 0)
		event_add(advisor->look, &pause);
}

static void on_look(evutil_socket_t fd, short what, void *context)
{
	struct advisor *advisor = context;

	(void)fd;
	(void)what;
	if (advisor_is_available(advisor))
		look(advisor, clock_now_ns());
}

static void look_at_hidden(struct advisor *advisor, uint64_t now_ns)
{
	struct client *client, *next, *oldest = NULL;
	unsigned looks = 0, hidden = 0;

	HASH_ITER(hh, advisor->table->by_pid, client, next)
	{
		if (!client->is_hidden || client->is_barred)
			continue;
		hidden++;
		if (client->is_suspect && looks < ADVISOR_LOOKS_MAX &&
		    now_ns - client->looked_ns >= TABLE_CHECK_NS) {
			look_at(advisor, client, now_ns);
			looks++;
		} else if (oldest == NULL || client->looked_ns < oldest->looked_ns) {
			oldest = client;
		}
	}
	if (oldest == NULL ||
	    now_ns - advisor->looked_ns < ADVISOR_HIDDEN_NS / (1 + hidden / ADVISOR_HIDDEN_MANY))
		return;
	advisor->looked_ns = now_ns;
	look_at(advisor, oldest, now_ns);
}

void advisor_tick(struct advisor *advisor, uint64_t now_ns)
{
	if (advisor->is_under_way && now_ns - advisor->sent_ns >= ADVISOR_ANSWER_NS) {
		bar_who_holds_up(advisor);
		line_give_up(&advisor->line);
		give_up_all(advisor);
	}
	line_tick(&advisor->line, now_ns);
	if (!advisor_is_available(advisor))
		return;
	look(advisor, now_ns);
	look_at_hidden(advisor, now_ns);
	step(advisor);
}

int advisor_init(struct advisor *advisor, struct event_base *base, struct table *table,
		 struct actions *actions, const char *runtime_dir, int fd, bool is_on)
{
	*advisor = (struct advisor){.table = table, .actions = actions};
	TAILQ_INIT(&advisor->jobs);
	line_init_off(&advisor->line);
	advisor->again = evtimer_new(base, on_again, advisor);
	advisor->look = evtimer_new(base, on_look, advisor);
	if (advisor->again == NULL || advisor->look == NULL)
		return -ENOMEM;
	return is_on ? line_init(&advisor->line, base, runtime_dir, fd, on_answer, advisor) : 0;
}

void advisor_deinit(struct advisor *advisor)
{
	if (advisor->table == NULL)
		return;
	while (!TAILQ_EMPTY(&advisor->jobs)) {
		struct advisor_job *job = TAILQ_FIRST(&advisor->jobs);

		TAILQ_REMOVE(&advisor->jobs, job, entry);
		free(job);
	}
	advisor->job_count = 0;
	if (advisor->again != NULL)
		event_free(advisor->again);
	if (advisor->look != NULL)
		event_free(advisor->look);
	line_deinit(&advisor->line);
	*advisor = (struct advisor){.line = advisor->line};
}
