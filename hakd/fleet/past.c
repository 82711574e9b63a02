#include "fleet/past.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void past_of(const struct client *client, struct past *past)
{
	*past = (struct past){
		.pid = client->pid,
		.uid = client->uid,
		.identity = client->identity,
		.hello = client->hello,
		.device = client->device,
		.inode = client->inode,
		.registered = client->registered,
		.registered_ns = client->registered_ns,
		.history = client->history,
		.release_request = client->release_request,
		.release_ack = client->release_ack,
		.release_bytes = client->release_bytes,
	};
	snprintf(past->group, sizeof past->group, "%s", client->group->name);
	memcpy(past->counted, client->counted, sizeof past->counted);
}

bool past_has_page(const struct past *past, const struct client *client)
{
	return past->device == client->device && past->inode == client->inode;
}

/* Who has come into another group leaves there what it has counted. */
static bool is_same_heap(const struct past *past, const struct client *client)
{
	return past->identity.start_ticks == client->identity.start_ticks &&
	       past->hello.region_base == client->hello.region_base &&
	       past->hello.superslab_count == client->hello.superslab_count &&
	       strcmp(past->group, client->group->name) == 0;
}

void past_give(struct past *past, struct client *client)
{
	bool has_page = past_has_page(past, client);
	bool goes_on = is_same_heap(past, client);

	client->has_come_again = true;
	for (enum hak_metric i = 0; i < HAK_METRIC_COUNT; i++) {
		/* Some begin anew with each page, as libhak has them. Of one page they do not. */
		if (!group_metric_is_counter(i) || !goes_on ||
		    (!has_page && client->counted[i] < past->counted[i]))
			past->counted[i] = 0;
		else if (client->counted[i] < past->counted[i])
			client->counted[i] = past->counted[i];
	}
	if (!goes_on)
		return;
	client->registered = past->registered;
	client->history = past->history;
	/* Its control group is watched by the hakd that looks it up. */
	client->history.group_id = 0;
	client->history.placed_ns = 0;
	client->release_request = past->release_request;
	client->release_ack = past->release_ack;
	client->release_bytes = past->release_bytes;
}

void pasts_init(struct pasts *pasts)
{
	pasts->by_pid = NULL;
	TAILQ_INIT(&pasts->queue);
}

static void drop(struct pasts *pasts, struct expected *expected)
{
	HASH_DEL(pasts->by_pid, expected);
	TAILQ_REMOVE(&pasts->queue, expected, queue);
	free(expected);
}

void pasts_deinit(struct pasts *pasts)
{
	struct expected *expected, *next;

	HASH_ITER(hh, pasts->by_pid, expected, next)
	{
		drop(pasts, expected);
	}
}

static struct expected *find(const struct pasts *pasts, pid_t pid)
{
	struct expected *expected;

	HASH_FIND(hh, pasts->by_pid, &pid, sizeof pid, expected);
	return expected;
}

bool pasts_add(struct pasts *pasts, const struct past *past, uint64_t now_ns)
{
	struct expected *expected = find(pasts, past->pid);

	if (expected != NULL)
		drop(pasts, expected);
	expected = calloc(1, sizeof *expected);
	if (expected == NULL)
		return false;
	expected->past = *past;
	expected->looked_ns = now_ns;
	HASH_ADD(hh, pasts->by_pid, past.pid, sizeof past->pid, expected);
	TAILQ_INSERT_TAIL(&pasts->queue, expected, queue);
	return true;
}

bool pasts_take(struct pasts *pasts, pid_t pid, uint64_t start_ticks, struct past *past)
{
	struct expected *expected = find(pasts, pid);
	bool is_same;

	if (expected == NULL)
		return false;
	is_same = expected->past.identity.start_ticks == start_ticks;
	if (is_same)
		*past = expected->past;
	drop(pasts, expected);
	return is_same;
}

void pasts_expire(struct pasts *pasts, uint64_t now_ns)
{
	for (int i = 0; i < PASTS_LOOKS_MAX; i++) {
		struct expected *expected = TAILQ_FIRST(&pasts->queue);

		if (expected == NULL || now_ns - expected->looked_ns < PASTS_LOOK_NS)
			return;
		if (process_has_ended(expected->past.pid, expected->past.identity.start_ticks)) {
			drop(pasts, expected);
			continue;
		}
		expected->looked_ns = now_ns;
		TAILQ_REMOVE(&pasts->queue, expected, queue);
		TAILQ_INSERT_TAIL(&pasts->queue, expected, queue);
	}
}
