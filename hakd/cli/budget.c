#include "cli/budget.h"

#include "cli/answer.h"
#include "cli/persist.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool budget_read_size(const char *text, bool *has, uint64_t *size_bytes)
{
	*has = true;
	*size_bytes = 0;
	return strcmp(text, "none") == 0 || arguments_size(text, size_bytes);
}

bool budget_read_limit(const char *text, enum budget_limit *limit)
{
	*limit = strcmp(text, "fail") == 0 ? BUDGET_LIMIT_FAIL : BUDGET_LIMIT_REPORT;
	if (*limit == BUDGET_LIMIT_FAIL || strcmp(text, "report") == 0)
		return true;
	arguments_complain("'%s' is neither report nor fail", text);
	return false;
}

static bool is_pid(const char *whose)
{
	return whose[0] != '\0' && whose[strspn(whose, "0123456789")] == '\0';
}

/* A number that no process can have is no group either. */
bool budget_read_whose(const char *text)
{
	pid_t pid;

	return !is_pid(text) || arguments_pid(text, &pid);
}

static pid_t pid_of(const struct budget_wish *wish)
{
	return wish->whose != NULL && is_pid(wish->whose) ? (pid_t)strtol(wish->whose, NULL, 10)
							  : 0;
}

bool budget_may_set(const struct budget_wish *wish)
{
	if (!wish->has_soft && !wish->has_hard && wish->limit == BUDGET_LIMIT_AS_IS)
		arguments_complain("budget set needs --soft, --hard or --on-limit");
	else if (wish->has_hard && wish->hard_bytes != 0 && wish->soft_bytes > wish->hard_bytes)
		arguments_complain("the hard budget is less than the soft one");
	else if (wish->persists && is_pid(wish->whose))
		arguments_complain("a process has no budget beyond its life: --persist needs a "
				   "group");
	else if (wish->persists && wish->ttl_ms != 0)
		arguments_complain("either --ttl or --persist");
	else
		return true;
	return false;
}

/* The object that names whose it is. */
static json_t *body_of(const struct budget_wish *wish)
{
	json_t *body = arguments_must(json_object());

	if (is_pid(wish->whose))
		json_object_set_new(body, "pid", json_integer(pid_of(wish)));
	else
		json_object_set_new(body, "group", json_string(wish->whose));
	return body;
}

static enum exit_code ask(struct query *query, const char *path, json_t *body, pid_t pid,
			  json_t **answer)
{
	char *text = body != NULL ? arguments_must(json_dumps(body, 0)) : NULL;
	enum exit_code code = query_ask(query, path, text, answer);

	if (code != EXIT_CODE_OK)
		query_complain(query, code, pid);
	free(text);
	json_decref(body);
	return code;
}

static enum exit_code judge(const struct answer *answer)
{
	if (answer_is_good(answer))
		return EXIT_CODE_OK;
	arguments_complain("%s", answer->why);
	return EXIT_CODE_FAILED;
}

static const char *size_text(int64_t bytes, const struct budget_look *look,
			     char text[RENDER_NUMBER_BYTES])
{
	if (bytes == 0)
		return "none";
	return render_size(bytes, look->is_exact ? RENDER_SIZE_EXACT : RENDER_SIZE_WORDS, text);
}

/* "1h left", "until cleared" or nothing. */
static const char *said_text(const json_t *row, char text[RENDER_NUMBER_BYTES])
{
	const json_t *said = json_object_get(row, "set");
	const json_t *ttl = json_object_get(said, "ttl_seconds");
	char age[RENDER_NUMBER_BYTES];

	if (!json_is_object(said))
		return "-";
	if (ttl == NULL)
		return "until cleared";
	snprintf(text, RENDER_NUMBER_BYTES, "%s left",
		 render_age((double)json_integer_value(ttl), age));
	return text;
}

static struct render_table *new_table(void)
{
	static const struct render_column columns[] = {
		{.name = "GROUP", .is_cut = true},
		{.name = "USED", .is_number = true},
		{.name = "SOFT", .is_number = true},
		{.name = "HARD", .is_number = true},
		{.name = "ON LIMIT"},
		{.name = "SET", .hide_turn = 1},
	};

	return render_table_new(columns, sizeof columns / sizeof columns[0], true);
}

static void put_row(struct render_table *table, struct answer *answer, const json_t *row,
		    const struct budget_look *look)
{
	int64_t hard_bytes = answer_integer(answer, row, "hard_budget_bytes");
	char text[RENDER_NUMBER_BYTES], name[160];

	if (json_object_get(row, "pid") != NULL)
		snprintf(name, sizeof name, "%lld %s",
			 (long long)answer_integer(answer, row, "pid"),
			 answer_text(answer, row, "command"));
	else
		snprintf(name, sizeof name, "%s", answer_text(answer, row, "group"));
	render_table_add_line(table);
	render_table_put(table, 0, name);
	render_table_put(table, 1,
			 render_size(answer_integer(answer, row, "used_bytes"),
				     look->is_exact ? RENDER_SIZE_EXACT : RENDER_SIZE_WORDS, text));
	render_table_put(table, 2,
			 size_text(answer_integer(answer, row, "soft_budget_bytes"), look, text));
	render_table_put(table, 3, size_text(hard_bytes, look, text));
	render_table_put(table, 4, hard_bytes == 0 ? "-" : answer_text(answer, row, "on_limit"));
	render_table_put(table, 5, said_text(row, text));
}

/* One row, as hakd has answered it; takes it. */
static enum exit_code print_row(json_t *row, const struct budget_look *look)
{
	struct answer answer = {{0}};
	struct render_table *table;
	enum exit_code code;

	if (look->is_json) {
		render_json(row);
		json_decref(row);
		return EXIT_CODE_OK;
	}
	table = new_table();
	put_row(table, &answer, row, look);
	code = judge(&answer);
	if (code == EXIT_CODE_OK)
		render_table_print(table);
	render_table_free(table);
	json_decref(row);
	return code;
}

/* hakd's directory of the highest rank, for the caller to free. */
static enum exit_code find_dir(struct query *query, char **dir)
{
	struct answer answer = {{0}};
	const json_t *dirs, *last;
	enum exit_code code;
	json_t *status;

	code = ask(query, "/v1/status", NULL, 0, &status);
	if (code != EXIT_CODE_OK)
		return code;
	dirs = answer_array(&answer, answer_object(&answer, status, "config"), "dirs");
	code = judge(&answer);
	last = json_array_get(dirs, json_array_size(dirs) - 1);
	if (code == EXIT_CODE_OK && !json_is_string(last)) {
		arguments_complain("hakd runs without a directory for its configuration "
				   "(--config): there is no place for --persist");
		code = EXIT_CODE_FAILED;
	}
	if (code == EXIT_CODE_OK)
		*dir = arguments_must(strdup(json_string_value(last)));
	json_decref(status);
	return code;
}

/* What was set by command would go before the file. *answer is the row without it, NULL where there
 * was nothing. */
static enum exit_code forget(struct query *query, const struct budget_wish *wish, json_t **answer)
{
	json_t *body = body_of(wish);
	char *text;
	enum exit_code code;

	json_object_set_new(body, "clear", json_true());
	text = arguments_must(json_dumps(body, 0));
	json_decref(body);
	code = query_ask(query, "/v1/budgets", text, answer);
	free(text);
	if (code != EXIT_CODE_OK) {
		json_decref(*answer);
		*answer = NULL;
	}
	if (code == EXIT_CODE_NO_PROCESS)
		return EXIT_CODE_OK;
	if (code != EXIT_CODE_OK)
		query_complain(query, code, pid_of(wish));
	return code;
}

static void print_problems(const json_t *answer)
{
	const json_t *problems = json_object_get(answer, "problems");

	for (size_t i = 0; i < json_array_size(problems); i++) {
		const char *line = json_string_value(json_array_get(problems, i));
		char *safe = render_safe(line != NULL ? line : "");

		fprintf(stderr, "%s\n", safe);
		free(safe);
	}
}

static enum exit_code ask_reload(struct query *query, json_t **answer)
{
	enum exit_code code = ask(query, "/v1/reload", json_object(), 0, answer);

	if (code == EXIT_CODE_OK)
		print_problems(*answer);
	return code;
}

static enum exit_code persist(struct query *query, const struct budget_wish *wish,
			      const struct budget_look *look)
{
	json_t *answer = NULL, *row = NULL;
	char *dir = NULL;
	enum exit_code code = find_dir(query, &dir);

	if (code == EXIT_CODE_OK)
		code = persist_write(dir, wish);
	/* A file that hakd does not take would keep the next hakd from all of its configuration. */
	if (code == EXIT_CODE_OK) {
		code = ask_reload(query, &answer);
		persist_settle(dir, wish->whose, code == EXIT_CODE_OK);
	}
	if (code == EXIT_CODE_OK)
		code = forget(query, wish, &row);
	json_decref(answer);
	json_decref(row);
	free(dir);
	return code == EXIT_CODE_OK ? budget_get(query, wish, look) : code;
}

enum exit_code budget_set(struct query *query, const struct budget_wish *wish,
			  const struct budget_look *look)
{
	json_t *body, *answer;
	enum exit_code code;

	if (wish->persists)
		return persist(query, wish, look);
	body = body_of(wish);
	if (wish->has_soft)
		json_object_set_new(body, "soft_bytes", json_integer((json_int_t)wish->soft_bytes));
	if (wish->has_hard)
		json_object_set_new(body, "hard_bytes", json_integer((json_int_t)wish->hard_bytes));
	if (wish->limit != BUDGET_LIMIT_AS_IS)
		json_object_set_new(body, "on_limit",
				    json_string(wish->limit == BUDGET_LIMIT_FAIL ? "fail"
										 : "report"));
	if (wish->ttl_ms != 0)
		json_object_set_new(body, "ttl_seconds", json_integer((wish->ttl_ms + 999) / 1000));
	code = ask(query, "/v1/budgets", body, pid_of(wish), &answer);
	return code == EXIT_CODE_OK ? print_row(answer, look) : code;
}

enum exit_code budget_clear(struct query *query, const struct budget_wish *wish,
			    const struct budget_look *look)
{
	bool was_kept = false;
	json_t *answer = NULL, *row = NULL;
	char *dir = NULL;
	enum exit_code code = wish->persists ? find_dir(query, &dir) : EXIT_CODE_OK;

	if (code == EXIT_CODE_OK && wish->persists)
		code = persist_remove(dir, wish->whose, &was_kept);
	free(dir);
	if (code == EXIT_CODE_OK)
		code = forget(query, wish, &row);
	if (code == EXIT_CODE_OK && was_kept)
		code = ask_reload(query, &answer);
	json_decref(answer);
	/* The daemon's own word, where no file has been read since: of a group that is no more it
	 * has no other. */
	if (code == EXIT_CODE_OK && row != NULL && !was_kept)
		return print_row(row, look);
	json_decref(row);
	if (code != EXIT_CODE_OK)
		return code;
	if (was_kept)
		return budget_get(query, wish, look);
	arguments_complain("no budget has been set for '%s'", wish->whose);
	return EXIT_CODE_NO_PROCESS;
}

/* The row of one group or process; NULL: none. */
static json_t *find_row(const json_t *answer, const struct budget_wish *wish)
{
	const json_t *rows = json_object_get(answer, pid_of(wish) != 0 ? "processes" : "groups");

	for (size_t i = 0; i < json_array_size(rows); i++) {
		json_t *row = json_array_get(rows, i);
		const char *group = json_string_value(json_object_get(row, "group"));

		if (pid_of(wish) != 0
			    ? json_integer_value(json_object_get(row, "pid")) == pid_of(wish)
			    : group != NULL && strcmp(group, wish->whose) == 0)
			return json_incref(row);
	}
	return NULL;
}

static enum exit_code print_all(const json_t *answered, const struct budget_look *look)
{
	struct answer answer = {{0}};
	const json_t *groups = answer_array(&answer, answered, "groups");
	struct render_table *table;
	enum exit_code code;

	if (look->is_json) {
		render_json(answered);
		return EXIT_CODE_OK;
	}
	table = new_table();
	for (size_t i = 0; i < json_array_size(groups); i++)
		put_row(table, &answer, json_array_get(groups, i), look);
	code = judge(&answer);
	if (code == EXIT_CODE_OK)
		render_table_print(table);
	render_table_free(table);
	return code;
}

enum exit_code budget_get(struct query *query, const struct budget_wish *wish,
			  const struct budget_look *look)
{
	json_t *answer, *row;
	enum exit_code code = ask(query, "/v1/budgets", NULL, 0, &answer);

	if (code != EXIT_CODE_OK)
		return code;
	if (wish->whose == NULL) {
		code = print_all(answer, look);
		json_decref(answer);
		return code;
	}
	row = find_row(answer, wish);
	json_decref(answer);
	if (row != NULL)
		return print_row(row, look);
	arguments_complain("%s '%s' is not known to hakd",
			   pid_of(wish) != 0 ? "the process" : "the group", wish->whose);
	return EXIT_CODE_NO_PROCESS;
}

static void print_fact(const char *name, const char *fact)
{
	char *safe = render_safe(fact[0] != '\0' ? fact : "-");

	printf("  %-15s %s\n", name, safe);
	free(safe);
}

static void print_why(struct answer *answer, const json_t *client, const struct budget_look *look)
{
	const json_t *policy = answer_object(answer, client, "policy");
	const char *name = json_string_value(json_object_get(policy, "name"));
	const char *file = json_string_value(json_object_get(policy, "file"));
	int64_t hard_bytes = answer_integer(answer, policy, "hard_budget_bytes");
	char text[RENDER_NUMBER_BYTES], place[1200];

	snprintf(place, sizeof place, "no section matches; everything is as by default");
	if (name != NULL && file != NULL)
		snprintf(place, sizeof place, "[policy %s], %s:%lld", name, file,
			 (long long)answer_integer(answer, policy, "line"));
	printf("%lld\n", (long long)answer_integer(answer, client, "pid"));
	print_fact("policy", place);
	print_fact("group", answer_text(answer, client, "group"));
	print_fact("soft budget",
		   size_text(answer_integer(answer, policy, "soft_budget_bytes"), look, text));
	print_fact("hard budget", size_text(hard_bytes, look, text));
	print_fact("on limit", hard_bytes == 0 ? "-" : answer_text(answer, policy, "on_limit"));
	print_fact("exempt", answer_text(answer, policy, "exempt"));
	print_fact("dry run", answer_text(answer, policy, "dry_run"));
	print_fact("agent", answer_text(answer, policy, "agent"));
	print_fact("remote reclaim", answer_text(answer, policy, "remote_reclaim"));
}

enum exit_code budget_why(struct query *query, pid_t pid, const struct budget_look *look)
{
	struct answer answer = {{0}};
	enum exit_code code;
	json_t *client;
	char path[64];

	snprintf(path, sizeof path, "/v1/clients/%d", (int)pid);
	code = ask(query, path, NULL, pid, &client);
	if (code != EXIT_CODE_OK)
		return code;
	if (look->is_json)
		render_json(answer_object(&answer, client, "policy"));
	else
		print_why(&answer, client, look);
	json_decref(client);
	return judge(&answer);
}

enum exit_code budget_reload(struct query *query, const struct budget_look *look)
{
	struct answer answer = {{0}};
	json_t *answered;
	enum exit_code code = ask_reload(query, &answered);

	if (code != EXIT_CODE_OK)
		return code;
	if (look->is_json)
		render_json(answered);
	else
		printf("read %lld files, %lld policies\n",
		       (long long)answer_integer(&answer, answered, "files"),
		       (long long)answer_integer(&answer, answered, "policies"));
	json_decref(answered);
	return judge(&answer);
}
