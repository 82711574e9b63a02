#include "serve/metrics.h"

#include <inttypes.h>
#include <string.h>

enum { GAUGE, COUNTER };

static const struct {
	int kind;
	const char *family;
	const char *labels;
	const char *help;
} rows[HAK_METRIC_COUNT] = {
#define METRIC(kind, field, family, labels, help) {kind, family, labels, help},
#include "proto/metrics.def"
#undef METRIC
};

static void head(struct text *text, const char *family, int kind, const char *help)
{
	text_print(text, "# HELP %s ", family);
	text_put_help(text, help);
	text_print(text, "\n# TYPE %s %s\n", family, kind == COUNTER ? "counter" : "gauge");
}

static void number(struct text *text, const char *family, int kind, const char *help,
		   uint64_t value)
{
	head(text, family, kind, help);
	text_print(text, "%s %" PRIu64 "\n", family, value);
}

static void real(struct text *text, const char *family, int kind, const char *help, double value)
{
	head(text, family, kind, help);
	text_print(text, "%s %.9g\n", family, value);
}

/* "family{group="...",labels} value" */
static void sample(struct text *text, const char *family, const char *group, const char *labels,
		   uint64_t value)
{
	text_print(text, "%s{group=\"", family);
	text_put_label(text, group);
	text_print(text, "\"%s%s} %" PRIu64 "\n", labels[0] != '\0' ? "," : "", labels, value);
}

static bool is_first_of_family(enum hak_metric row)
{
	for (enum hak_metric i = 0; i < row; i++)
		if (strcmp(rows[i].family, rows[row].family) == 0)
			return false;
	return true;
}

static void write_row(struct text *text, const struct table *table, enum hak_metric row)
{
	const struct group *group = table->groups.by_name;

	for (; group != NULL; group = group->hh.next)
		sample(text, rows[row].family, group->name, rows[row].labels, group->sum[row]);
}

/* All rows of a family stand together in the text, wherever metrics.def has them: it only ever
 * grows at its end. */
static void write_rows(struct text *text, const struct table *table)
{
	for (enum hak_metric i = 0; i < HAK_METRIC_COUNT; i++) {
		if (!is_first_of_family(i))
			continue;
		head(text, rows[i].family, rows[i].kind, rows[i].help);
		for (enum hak_metric j = i; j < HAK_METRIC_COUNT; j++)
			if (strcmp(rows[j].family, rows[i].family) == 0)
				write_row(text, table, j);
	}
}

static void write_registrations(struct text *text, const struct table *table)
{
	static const char family[] = "hak_client_registrations_total";

	head(text, family, COUNTER, "Connections to the client socket, by what became of them.");
	for (enum registration i = 0; i < REGISTRATION_COUNT; i++)
		text_print(text, "%s{result=\"%s\"} %" PRIu64 "\n", family,
			   table_registration_text(i), table->registrations[i]);
}

static void write_groups(struct text *text, const struct table *table)
{
	const struct group *group;

	head(text, "hak_group_processes", GAUGE, "Registered processes, by group.");
	for (group = table->groups.by_name; group != NULL; group = group->hh.next)
		sample(text, "hak_group_processes", group->name, "", group->process_count);
}

/* Where a group as a whole has no budget, its members' own, added up. 0: none. */
static uint64_t budget_of(uint64_t group_bytes, uint64_t members_bytes)
{
	return group_bytes != 0 ? group_bytes : members_bytes;
}

static void write_budget(struct text *text, const struct group *group)
{
	const struct group_budget *budget = &group->ledger.budget, *members = &group->members;
	uint64_t soft_bytes = budget_of(budget->soft_bytes, members->soft_bytes);
	uint64_t hard_bytes = budget_of(budget->hard_bytes, members->hard_bytes);

	if (soft_bytes != 0)
		sample(text, "hak_budget_bytes", group->name, "kind=\"soft\"", soft_bytes);
	if (hard_bytes != 0)
		sample(text, "hak_budget_bytes", group->name, "kind=\"hard\"", hard_bytes);
}

static void write_budgets(struct text *text, const struct table *table)
{
	const struct group *group;

	head(text, "hak_budget_bytes", GAUGE,
	     "What the processes of a group are to stay below, together.");
	for (group = table->groups.by_name; group != NULL; group = group->hh.next)
		write_budget(text, group);
	head(text, "hak_budget_exceeded_seconds_total", COUNTER,
	     "For how long a group, or a process in it, was above its budget.");
	for (group = table->groups.by_name; group != NULL; group = group->hh.next) {
		text_put(text, "hak_budget_exceeded_seconds_total{group=\"");
		text_put_label(text, group->name);
		text_print(text, "\"} %.3f\n",
			   (double)(group->ledger.exceeded_ns / 1000000) / 1000);
	}
}

static void write_config(struct text *text, const struct metrics_daemon *daemon)
{
	number(text, "hak_config_last_reload_successful", GAUGE,
	       "Whether the configuration was free of errors when it was last read.",
	       daemon->config_is_good);
	number(text, "hak_config_last_reload_success_timestamp_seconds", GAUGE,
	       "When the configuration that is in force was read, in seconds since 1970.",
	       (uint64_t)daemon->config_succeeded);
}

static void write_advice(struct text *text, const struct table *table,
			 const struct advisor *advisor)
{
	const struct group *group = table->groups.by_name;

	number(text, "hak_remote_reclaim_available", GAUGE,
	       "Whether memory can be taken from programs that do not run.",
	       advisor->line.state == LINE_READY);
	head(text, "hak_advice_bytes_total", COUNTER,
	     "Bytes of programs that the kernel was told of, by what it was told and whether it "
	     "took them.");
	for (enum hak_reclaim_advice i = HAK_RECLAIM_PAGEOUT; i < HAK_RECLAIM_ADVICE_COUNT; i++)
		text_print(text,
			   "hak_advice_bytes_total{advice=\"%s\",result=\"done\"} %" PRIu64 "\n"
			   "hak_advice_bytes_total{advice=\"%s\",result=\"dropped\"} %" PRIu64 "\n",
			   hak_reclaim_advice_text(i), advisor->advised_bytes[i],
			   hak_reclaim_advice_text(i), advisor->dropped_bytes[i]);
	number(text, "hak_advice_swapped_bytes_total", COUNTER,
	       "Bytes that were swapped out while programs were advised, instead of released.",
	       advisor->swapped_bytes);
	number(text, "hak_advice_refused_total", COUNTER,
	       "Releases that found too many others waiting.", advisor->refused_count);
	head(text, "hak_remote_released_bytes_total", COUNTER,
	     "Bytes that the advisor took from programs that do not run.");
	for (; group != NULL; group = group->hh.next)
		sample(text, "hak_remote_released_bytes_total", group->name, "",
		       group->released_bytes);
}

static void write_daemon(struct text *text, const struct metrics_daemon *daemon)
{
	real(text, "process_cpu_seconds_total", COUNTER,
	     "User and system CPU time that hakd has used.", daemon->self.cpu_seconds);
	number(text, "process_open_fds", GAUGE, "File descriptors that hakd has open.",
	       daemon->self.fd_count);
	number(text, "process_resident_memory_bytes", GAUGE, "Resident memory of hakd.",
	       daemon->self.resident_bytes);
	number(text, "process_start_time_seconds", GAUGE,
	       "When hakd was started, in seconds since 1970.", (uint64_t)daemon->started);
}

void metrics_write(struct text *text, const struct table *table,
		   const struct metrics_daemon *daemon)
{
	head(text, "hak_build_info", GAUGE, "The version of hakd, as a label.");
	text_print(text, "hak_build_info{version=\"%s\"} 1\n", daemon->version);
	number(text, "hak_clients", GAUGE, "Registered processes.", table->client_count);
	write_registrations(text, table);
	number(text, "hak_client_implausible_total", COUNTER,
	       "How often a process began to report what cannot be.", table->implausible_total);
	number(text, "hak_client_torn_reads_total", COUNTER,
	       "Readings of a process that was writing its numbers all the time.",
	       table->torn_total);
	write_groups(text, table);
	write_rows(text, table);
	write_budgets(text, table);
	write_config(text, daemon);
	if (daemon->advisor != NULL)
		write_advice(text, table, daemon->advisor);
	real(text, "hak_scan_duration_seconds", GAUGE,
	     "How long the last reading of all processes took.", table->scan_seconds);
	write_daemon(text, daemon);
}
