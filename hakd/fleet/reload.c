#include "fleet/reload.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

void reload_init(struct reload *reload, struct table *table, const struct conf_sources *sources)
{
	*reload = (struct reload){.table = table, .sources = *sources};
}

void reload_deinit(struct reload *reload)
{
	if (reload->policy != NULL)
		reload->table->allot.policy = NULL;
	policy_free(reload->policy);
	reload->policy = NULL;
}

/* The next line of *rest without its end, which is moved behind it; "" at the end. */
static int next_line(const char **rest, const char **line)
{
	size_t length = strcspn(*rest, "\n");

	*line = *rest;
	*rest += length + ((*rest)[length] == '\n');
	return (int)length;
}

void reload_log(const struct conf_report *report)
{
	const char *rest = report->text.bytes != NULL ? report->text.bytes : "", *line;

	while (rest[0] != '\0') {
		int length = next_line(&rest, &line);

		log_say(LOG_WARNING, "%.*s", length, line);
	}
}

/* Of errors and warnings the first error. */
static void note_why(struct reload *reload, const struct conf_report *report)
{
	const char *rest = report->text.bytes != NULL ? report->text.bytes : "", *line;

	snprintf(reload->why, sizeof reload->why, "the configuration cannot be read");
	while (rest[0] != '\0') {
		int length = next_line(&rest, &line);

		snprintf(reload->why, sizeof reload->why, "%.*s", length, line);
		if (strstr(reload->why, ": warning: ") == NULL)
			return;
	}
}

bool reload_now(struct reload *reload, struct conf_report *report)
{
	struct policy *policy, *old = reload->policy;
	struct conf config;

	conf_read(&config, &reload->sources, report);
	policy = policy_new(&config, reload->table->allot.memory_bytes, report);
	reload->is_good = policy != NULL;
	reload->why[0] = '\0';
	if (policy == NULL) {
		note_why(reload, report);
		return false;
	}
	reload->policy = policy;
	reload->succeeded = time(NULL);
	table_set_policy(reload->table, policy, clock_now_ns());
	policy_free(old);
	return true;
}
