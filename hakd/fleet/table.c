#include "fleet/table.h"

#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#define REAP_MAX 64 /* in one turn of the loop */
#define FDS_PER_CLIENT 2
#define FDS_OF_ITS_OWN 512 /* sockets, connections, files that are read */

/* As many descriptors as the system lets us have: each client is two of them. */
static size_t raise_descriptors(void)
{
	struct rlimit limit;
	size_t count;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return TABLE_CLIENTS_MAX;
	limit.rlim_cur = limit.rlim_max;
	if (limit.rlim_cur > FDS_PER_CLIENT * TABLE_CLIENTS_MAX + FDS_OF_ITS_OWN)
		limit.rlim_cur = FDS_PER_CLIENT * TABLE_CLIENTS_MAX + FDS_OF_ITS_OWN;
	setrlimit(RLIMIT_NOFILE, &limit);
	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur >= FDS_PER_CLIENT * TABLE_CLIENTS_MAX + FDS_OF_ITS_OWN)
		return TABLE_CLIENTS_MAX;
	count = limit.rlim_cur > FDS_OF_ITS_OWN ? (limit.rlim_cur - FDS_OF_ITS_OWN) / FDS_PER_CLIENT
						: 0;
	log_say(LOG_INFO, "RLIMIT_NOFILE is %llu, which is enough for %zu clients.",
		(unsigned long long)limit.rlim_cur, count);
	return count;
}

int table_init(struct table *table)
{
	*table = (struct table){.departures = -1,
				.allot = {.default_soft_bytes = ALLOT_NO_DEFAULT}};
	TAILQ_INIT(&table->queue);
	pasts_init(&table->pasts);
	table->clients_max = raise_descriptors();
	table->departures = epoll_create1(EPOLL_CLOEXEC);
	if (table->departures < 0) {
		int error = -errno;

		log_say(LOG_ERR, "Cannot make an epoll descriptor: %s.", strerror(-error));
		return error;
	}
	return 0;
}

static void refresh(struct table *table, struct client *client, uint64_t now_ns)
{
	enum client_read read = client_refresh(client, now_ns);

	table->torn_total += read == CLIENT_READ_TORN;
	table->implausible_total += read == CLIENT_READ_IMPLAUSIBLE;
}

void table_drop(struct table *table, struct client *client, uint64_t now_ns)
{
	if (table->dropping != NULL)
		table->dropping(table->dropping_context, client);
	/* Closing the pidfd would not do: the advisor may have it, too, for a moment. */
	epoll_ctl(table->departures, EPOLL_CTL_DEL, client->pidfd, NULL);
	group_leave(client->group, client->counted, now_ns);
	client->account->client_count--;
	HASH_DEL(table->by_pid, client);
	TAILQ_REMOVE(&table->queue, client, queue);
	table->client_count--;
	client_free(client);
}

void table_lose(struct table *table, struct client *client, uint64_t now_ns)
{
	struct past past;

	/* Its last words are on the page, whoever maps that by now. */
	refresh(table, client, now_ns);
	past_of(client, &past);
	table_drop(table, client, now_ns);
	/* Without memory for it the group has its counters twice, if it comes again. */
	(void)pasts_add(&table->pasts, &past, now_ns);
}

void table_deinit(struct table *table)
{
	struct client *client, *next_client;
	struct account *account, *next_account;

	HASH_ITER(hh, table->by_pid, client, next_client)
	{
		table_drop(table, client, 0);
	}
	HASH_ITER(hh, table->accounts, account, next_account)
	{
		HASH_DEL(table->accounts, account);
		free(account);
	}
	groups_deinit(&table->groups);
	pasts_deinit(&table->pasts);
	if (table->departures >= 0)
		close(table->departures);
	table->departures = -1;
}

const char *table_registration_text(enum registration registration)
{
	static const char *const texts[REGISTRATION_COUNT] = {"accepted", "limit", "invalid",
							      "version"};

	return texts[registration];
}

void table_count(struct table *table, enum registration registration)
{
	table->registrations[registration]++;
}

/* /etc/passwd alone: a directory service may be far away, and the daemon has one thread. */
static void name_user(struct account *account)
{
	FILE *passwd = fopen("/etc/passwd", "re");
	const struct passwd *entry;

	snprintf(account->user, sizeof account->user, "%u", account->uid);
	if (passwd == NULL)
		return;
	while ((entry = fgetpwent(passwd)) != NULL) {
		if (entry->pw_uid == account->uid) {
			text_clean(account->user, sizeof account->user, entry->pw_name,
				   strlen(entry->pw_name));
			break;
		}
	}
	fclose(passwd);
}

static struct account *find_account(struct table *table, uid_t uid, uint64_t now_ns)
{
	struct account *account;

	HASH_FIND(hh, table->accounts, &uid, sizeof uid, account);
	if (account != NULL)
		return account;
	/* A user who owns many others (user namespaces) does not keep root out. */
	if (HASH_COUNT(table->accounts) >= ACCOUNTS_MAX && uid != 0)
		return NULL;
	account = calloc(1, sizeof *account);
	if (account == NULL)
		return NULL;
	account->uid = uid;
	account->tokens = ACCOUNT_BURST;
	account->filled_ns = now_ns;
	name_user(account);
	HASH_ADD(hh, table->accounts, uid, sizeof account->uid, account);
	return account;
}

static void fill(struct account *account, uint64_t now_ns)
{
	account->tokens += (double)(now_ns - account->filled_ns) * ACCOUNT_RATE / 1e9;
	account->filled_ns = now_ns;
	if (account->tokens > ACCOUNT_BURST)
		account->tokens = ACCOUNT_BURST;
}

bool table_admit(struct table *table, uid_t uid, uint64_t now_ns)
{
	struct account *account = find_account(table, uid, now_ns);

	if (account == NULL)
		return false;
	if (uid == 0)
		return true;
	fill(account, now_ns);
	if (account->tokens < 1)
		return false;
	account->tokens -= 1;
	return true;
}

static void forget_accounts(struct table *table, uint64_t now_ns)
{
	struct account *account, *next;

	HASH_ITER(hh, table->accounts, account, next)
	{
		fill(account, now_ns);
		if (account->client_count == 0 && account->tokens >= ACCOUNT_BURST) {
			HASH_DEL(table->accounts, account);
			free(account);
		}
	}
}

static bool has_ended(int pidfd)
{
	struct pollfd ended = {.fd = pidfd, .events = POLLIN};

	return poll(&ended, 1, 0) != 0;
}

static bool watch(struct table *table, struct client *client)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};

	return epoll_ctl(table->departures, EPOLL_CTL_ADD, client->pidfd, &event) == 0;
}

/* Everything that is left to do once nothing can be refused any more. */
static void enter(struct table *table, struct client *client)
{
	client->account->client_count++;
	HASH_ADD(hh, table->by_pid, pid, sizeof client->pid, client);
	TAILQ_INSERT_TAIL(&table->queue, client, queue);
	table->client_count++;
}

/* Its group, its budgets, and the mailbox that tells of them: it may be looked at right after. */
static enum registration settle(struct table *table, struct client *client, const char **why)
{
	struct client_wishes told;

	allot_match(&table->allot, client, client->account->user);
	*why = "there is no memory for it, or no place to watch it";
	client->group = groups_join(&table->groups, allot_group_name(client), client->uid);
	if (client->group == NULL)
		return REGISTRATION_LIMIT;
	allot_newcomer(&table->allot, client);
	told = allot_told(&table->allot, client);
	client_open(client, &told);
	if (client->has_lost_page) {
		*why = "its memfd has no memory";
		return REGISTRATION_INVALID;
	}
	return watch(table, client) ? REGISTRATION_ACCEPTED : REGISTRATION_LIMIT;
}

/* Some are kept for root. */
static size_t places_for(const struct table *table, uid_t uid)
{
	return uid == 0 ? table->clients_max
			: table->clients_max - table->clients_max / TABLE_ROOT_SHARE;
}

/* Makes *client of the papers, or says why not. The descriptors are the client's once there is
 * one. */
static enum registration admit(struct table *table, const struct client_papers *papers,
			       const struct process_identity *identity, uint64_t now_ns,
			       struct client **result, const char **why)
{
	struct client *old = table_find(table, papers->pid);
	struct account *account = find_account(table, papers->uid, now_ns);
	enum registration registration;
	struct client *client;

	*why = client_refuse_page(papers->memfd, papers->hello.superslab_count);
	if (*why != NULL)
		return REGISTRATION_INVALID;
	*why = "there are as many clients already as there may be";
	if (account == NULL ||
	    (old == NULL && table->client_count >= places_for(table, papers->uid)))
		return REGISTRATION_LIMIT;
	*why = "its user has as many clients already as one may have";
	if (papers->uid != 0 && account->client_count >= ACCOUNT_CLIENTS_MAX &&
	    (old == NULL || old->account != account))
		return REGISTRATION_LIMIT;
	*why = "its memfd cannot be mapped";
	if (client_new(papers, identity, &client) != 0)
		return REGISTRATION_INVALID;
	client->account = account;
	client->rows.owned = &account->memo_count;
	registration = settle(table, client, why);
	if (registration == REGISTRATION_ACCEPTED) {
		*result = client;
		return registration;
	}
	if (client->group != NULL)
		group_leave(client->group, client->counted, now_ns);
	client_refuse(client);
	return registration;
}

/* Whether it was a client before. Where it still is one that leaves; of the same page (the client
 * had lost sight of us) the last good copy stays. */
static bool find_past(struct table *table, struct client *client, struct past *past,
		      uint64_t now_ns)
{
	struct client *old = table_find(table, client->pid);

	if (old == NULL)
		return pasts_take(&table->pasts, client->pid, client->identity.start_ticks, past);
	refresh(table, old, now_ns);
	past_of(old, past);
	if (past_has_page(past, client))
		client->telemetry = old->telemetry;
	table_drop(table, old, now_ns);
	return true;
}

enum registration table_register(struct table *table, const struct client_papers *papers,
				 uint64_t now_ns, const char **why)
{
	struct process_identity identity;
	enum registration registration;
	struct client *client = NULL;
	struct past past;
	bool has_past;

	/* The order matters: while the process had not ended after /proc was read, the pid was its
	 * own. One that has ended is a client no more, and did nothing wrong. */
	*why = "";
	if (!process_identify(papers->pid, papers->hello.exe, &identity) ||
	    has_ended(papers->pidfd))
		registration = REGISTRATION_ACCEPTED;
	else
		registration = admit(table, papers, &identity, now_ns, &client, why);
	if (client == NULL) {
		close(papers->memfd);
		close(papers->pidfd);
		return registration;
	}
	has_past = find_past(table, client, &past, now_ns);
	enter(table, client);
	refresh(table, client, now_ns);
	if (has_past) {
		past_give(&past, client);
		group_unfold(client->group, past.counted);
	}
	return REGISTRATION_ACCEPTED;
}

/* As it was, up to its group, whatever /proc and policy say by now; NULL: it is no client any more.
 * The caller still has the descriptors then. */
static struct client *resume(struct table *table, const struct client_papers *papers,
			     const struct past *past, uint64_t now_ns)
{
	struct account *account = find_account(table, papers->uid, now_ns);
	struct client *client;

	if (account == NULL || client_new(papers, &past->identity, &client) != 0)
		return NULL;
	client->account = account;
	client->rows.owned = &account->memo_count;
	allot_match(&table->allot, client, account->user);
	client->group = groups_join(&table->groups, past->group, client->uid);
	if (client->group != NULL && client_maps_page(client, now_ns) && watch(table, client)) {
		client_resume(client);
		return client;
	}
	if (client->group != NULL)
		group_leave(client->group, client->counted, now_ns);
	client_refuse(client);
	return NULL;
}

struct client *table_resume(struct table *table, const struct past *past, int memfd,
			    uint64_t now_ns)
{
	const struct client_papers papers = {
		.hello = past->hello,
		.pid = past->pid,
		.uid = past->uid,
		.pidfd = process_open(past->pid, past->identity.start_ticks),
		.memfd = memfd,
	};
	struct past given = *past;
	struct client *client = NULL;

	if (papers.pidfd >= 0 && table->client_count < table->clients_max &&
	    table_find(table, past->pid) == NULL &&
	    client_refuse_page(memfd, past->hello.superslab_count) == NULL)
		client = resume(table, &papers, past, now_ns);
	if (client == NULL) {
		close(memfd);
		if (papers.pidfd >= 0)
			close(papers.pidfd);
		return NULL;
	}
	client->registered_ns = past->registered_ns;
	enter(table, client);
	refresh(table, client, now_ns);
	past_give(&given, client);
	return client;
}

void table_expect(struct table *table, const struct past *past, uint64_t now_ns)
{
	struct group *group = groups_restore(&table->groups, past->group, now_ns);

	if (group != NULL)
		group_fold(group, past->counted);
	pasts_add(&table->pasts, past, now_ns);
}

struct client *table_find(struct table *table, pid_t pid)
{
	struct client *client;

	HASH_FIND(hh, table->by_pid, &pid, sizeof pid, client);
	return client;
}

/* Whether the process still is what it was. False: it is no client any more. */
static bool check(struct table *table, struct client *client, uint64_t now_ns)
{
	if (!client_maps_page(client, now_ns)) {
		log_say(LOG_DEBUG, "Process %d has another address space: dropped.", client->pid);
		table_lose(table, client, now_ns);
		return false;
	}
	TAILQ_REMOVE(&table->queue, client, queue);
	TAILQ_INSERT_TAIL(&table->queue, client, queue);
	return true;
}

struct client *table_trim(struct table *table, pid_t pid, uint64_t target_bytes, uint64_t now_ns)
{
	struct client *client = table_find(table, pid);

	if (client == NULL)
		return NULL;
	if (!check(table, client, now_ns))
		return NULL;
	client_trim(client, target_bytes);
	return client;
}

void table_reap(struct table *table, uint64_t now_ns)
{
	struct epoll_event events[REAP_MAX];
	int count = epoll_wait(table->departures, events, REAP_MAX, 0);

	for (int i = 0; i < count; i++) {
		struct client *client = events[i].data.ptr;

		/* Its last words: a process that has ended writes no more, but may have since. */
		refresh(table, client, now_ns);
		table_drop(table, client, now_ns);
	}
}

static void check_some(struct table *table, uint64_t now_ns)
{
	for (int i = 0; i < TABLE_CHECKS_MAX; i++) {
		struct client *client = TAILQ_FIRST(&table->queue);

		if (client == NULL || now_ns - client->checked_ns < TABLE_CHECK_NS)
			return;
		(void)check(table, client, now_ns);
	}
}

void table_deal(struct table *table, uint64_t now_ns)
{
	table_refresh(table, now_ns);
	allot_deal(&table->allot, table->by_pid, &table->groups, now_ns);
}

void table_set_policy(struct table *table, const struct policy *policy, uint64_t now_ns)
{
	struct client *client, *next;

	table->allot.policy = policy;
	HASH_ITER(hh, table->by_pid, client, next)
	{
		allot_match(&table->allot, client, client->account->user);
	}
	table_deal(table, now_ns);
}

void table_tick(struct table *table, uint64_t now_ns)
{
	struct client *client, *next;

	HASH_ITER(hh, table->by_pid, client, next)
	{
		client_tick(client);
	}
	check_some(table, now_ns);
	/* Reading all numbers is half of what a tick costs: shares need them, and little else. */
	if (allot_shares(&table->allot, &table->groups) ||
	    now_ns - table->refreshed_ns >= TABLE_CHECK_NS)
		table_refresh(table, now_ns);
	allot_deal(&table->allot, table->by_pid, &table->groups, now_ns);
	groups_expire(&table->groups, now_ns);
	pasts_expire(&table->pasts, now_ns);
	forget_accounts(table, now_ns);
}

void table_refresh(struct table *table, uint64_t now_ns)
{
	struct client *client, *next;

	if (table->refreshed_ns != 0 && now_ns - table->refreshed_ns < TABLE_REFRESH_NS)
		return;
	HASH_ITER(hh, table->by_pid, client, next)
	{
		refresh(table, client, now_ns);
	}
	table->refreshed_ns = now_ns;
	table->scan_seconds = (double)(clock_now_ns() - now_ns) / 1e9;
}

static void add_budget(struct client *client)
{
	const struct group_budget *budget = &client->wishes.budget;
	struct group_budget *members = &client->group->members;

	members->soft_bytes = group_add(members->soft_bytes, budget->soft_bytes);
	members->hard_bytes = group_add(members->hard_bytes, budget->hard_bytes);
}

void table_sum(struct table *table, uint64_t sum[HAK_METRIC_COUNT])
{
	struct client *client, *next_client;
	struct group *group, *next_group;

	HASH_ITER(hh, table->groups.by_name, group, next_group)
	{
		memcpy(group->sum, group->departed, sizeof group->sum);
		group->members = (struct group_budget){.soft_bytes = 0};
	}
	HASH_ITER(hh, table->by_pid, client, next_client)
	{
		for (enum hak_metric i = 0; i < HAK_METRIC_COUNT; i++)
			client->group->sum[i] = group_add(client->group->sum[i],
							  client->counted[i]);
		add_budget(client);
	}
	memset(sum, 0, sizeof *sum * HAK_METRIC_COUNT);
	HASH_ITER(hh, table->groups.by_name, group, next_group)
	{
		for (enum hak_metric i = 0; i < HAK_METRIC_COUNT; i++)
			sum[i] = group_add(sum[i], group->sum[i]);
	}
	groups_sort(&table->groups);
}

static int by_live_bytes(const struct client *a, const struct client *b)
{
	if (a->telemetry.live_bytes != b->telemetry.live_bytes)
		return a->telemetry.live_bytes < b->telemetry.live_bytes ? 1 : -1;
	return a->pid < b->pid ? -1 : 1;
}

void table_sort(struct table *table)
{
	HASH_SORT(table->by_pid, by_live_bytes);
}

bool table_is_valid(const struct table *table)
{
	const struct client *client;
	size_t count = 0;

	TAILQ_FOREACH(client, &table->queue, queue)
	{
		count++;
		if (!client_is_valid(client))
			return false;
	}
	return count == table->client_count && count == HASH_COUNT(table->by_pid) &&
	       HASH_COUNT(table->groups.by_name) == table->groups.count &&
	       table->groups.count <= GROUPS_MAX;
}
