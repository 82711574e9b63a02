/* table.h - all clients, what their users are allowed, and the groups that they are in.
 *
 * A client comes by table_register, or by table_resume after hakd was started anew, and goes when
 * its process ends (table_reap), when its process has another address space (exec), when its page
 * cannot be written, or when the same pid registers again. Whoever goes leaves its counters to its
 * group.
 *
 * Limits, beyond which a registration is refused and counted as such:
 *   clients                    TABLE_CLIENTS_MAX, or what RLIMIT_NOFILE has room for; the last
 *                              TABLE_ROOT_SHARE of them root's
 *   of one user but root       ACCOUNT_CLIENTS_MAX clients, ACCOUNT_RATE connections a second,
 *                              ACCOUNT_BURST at once
 *   users with any of these    ACCOUNTS_MAX
 *
 * Owns everything that it refers to. One thread; a pointer to a client is good until the next call
 * of table_register, table_reap, table_tick, table_drop or table_trim. Errors: 0 or a negative
 * errno, which is fatal; what a client brings about is never an error.
 */
#ifndef HAKD_FLEET_TABLE_H
#define HAKD_FLEET_TABLE_H

#include "fleet/allot.h"
#include "fleet/past.h"

#define TABLE_CLIENTS_MAX 16384
#define TABLE_ROOT_SHARE 16 /* one of so many places is root's alone */
#define TABLE_REFRESH_NS (CLOCK_SECOND_NS / 10)
#define TABLE_CHECK_NS (10 * CLOCK_SECOND_NS)
#define TABLE_CHECKS_MAX 500 /* address spaces looked at in one tick */

#define ACCOUNT_CLIENTS_MAX 1024
#define ACCOUNT_RATE 50
#define ACCOUNT_BURST 500
#define ACCOUNTS_MAX 4096

struct account {
	UT_hash_handle hh; /* by uid */
	uid_t uid;
	char user[64]; /* the name that /etc/passwd has, else the number */
	size_t client_count;
	size_t memo_count; /* of all its clients' rows */
	double tokens;	   /* connections that it may make at once */
	uint64_t filled_ns;
};

enum registration {
	REGISTRATION_ACCEPTED,
	REGISTRATION_LIMIT,
	REGISTRATION_INVALID,
	REGISTRATION_VERSION,
	REGISTRATION_COUNT,
};

TAILQ_HEAD(client_queue, client);

struct table {
	struct client *by_pid;
	struct client_queue queue; /* the longest unchecked first */
	struct account *accounts;
	struct groups groups;
	struct pasts pasts; /* of clients that are to register again */
	size_t client_count;
	size_t clients_max;
	/* Set from above: a client leaves. */
	void (*dropping)(void *context, const struct client *client);
	void *dropping_context;
	int departures; /* an epoll descriptor: readable when a client has ended */
	struct allot allot;
	uint64_t registrations[REGISTRATION_COUNT];
	uint64_t implausible_total;
	uint64_t torn_total;
	uint64_t refreshed_ns;
	double scan_seconds; /* of the last refresh */
};

int table_init(struct table *table);
void table_deinit(struct table *table);

const char *table_registration_text(enum registration registration);

/* Whether a connection of this user may go on; it is counted against the user. */
bool table_admit(struct table *table, uid_t uid, uint64_t now_ns);

/* Takes the papers' descriptors in any case. *why is a sentence where the answer is not
 * REGISTRATION_ACCEPTED. Counting is the caller's (table_count): it refuses some itself. */
enum registration table_register(struct table *table, const struct client_papers *papers,
				 uint64_t now_ns, const char **why);
void table_count(struct table *table, enum registration registration);

/* A client that the last hakd had, with its page: it does not notice. Takes memfd in any case.
 * NULL: the process has ended, or is another program by now, or there is no room for it. */
struct client *table_resume(struct table *table, const struct past *past, int memfd,
			    uint64_t now_ns);

/* A client that the last hakd had, without its page: it goes on when it registers. */
void table_expect(struct table *table, const struct past *past, uint64_t now_ns);

struct client *table_find(struct table *table, pid_t pid);

/* NULL where there is no such client, or was: its process has another address space now. */
struct client *table_trim(struct table *table, pid_t pid, uint64_t target_bytes, uint64_t now_ns);

/* From here on this policy holds, which is the caller's; NULL: none. Clients stay in their
 * groups. */
void table_set_policy(struct table *table, const struct policy *policy, uint64_t now_ns);

/* Deals out all budgets anew: something has changed. */
void table_deal(struct table *table, uint64_t now_ns);

/* Takes a client off the list; the second while its process lives, whose heap may register again
 * and then goes on where it was. */
void table_drop(struct table *table, struct client *client, uint64_t now_ns);
void table_lose(struct table *table, struct client *client, uint64_t now_ns);

/* Drops clients that have ended; to be called when `departures` is readable. */
void table_reap(struct table *table, uint64_t now_ns);

/* Every 2 s: shows clients that the daemon lives, looks whether some are others by now, deals out
 * budgets. */
void table_tick(struct table *table, uint64_t now_ns);

/* Takes new numbers of all clients, where the last are older than TABLE_REFRESH_NS. */
void table_refresh(struct table *table, uint64_t now_ns);

/* Sums what is counted, by group into each group's `sum` and of all groups into sum; and budgets
 * into each group's `members`. */
void table_sum(struct table *table, uint64_t sum[HAK_METRIC_COUNT]);

/* Clients by live bytes, the largest first. */
void table_sort(struct table *table);

bool table_is_valid(const struct table *table);

#endif
