#include "govern/actions.h"

#include "base/log.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-journal.h>

const char *actions_result_text(enum actions_result result)
{
	static const char *const texts[ACTIONS_RESULTS] = {"done", "pending", "asked", "failed",
							   "dry-run"};

	return texts[result];
}

static void put_sentence(char *to, size_t size, const struct actions_record *record)
{
	static const char *const words[ACTIONS_RESULTS] = {
		[ACTIONS_DONE] = "Took back",
		[ACTIONS_PENDING] = "Asked, without an answer so far, for",
		[ACTIONS_ASKED] = "Asked for",
		[ACTIONS_FAILED] = "Could not take back",
		[ACTIONS_DRY_RUN] = "Would take back",
	};
	char bytes[TEXT_SIZE_BYTES];

	/* No target is all that can go. */
	if (record->result != ACTIONS_DONE && record->action.target_bytes == 0)
		strcpy(bytes, "what is free");
	else
		text_format_bytes(bytes, record->result == ACTIONS_DONE
						 ? record->released_bytes
						 : record->action.target_bytes);
	snprintf(to, size, "%s %s of process %d (%s, %s)", words[record->result], bytes,
		 record->action.pid, record->command, record->unit);
}

static bool send_entry(const struct actions_record *record, const char *sentence)
{
	const struct governor_action *action = &record->action;

	return sd_journal_send("MESSAGE=%s.", sentence, "MESSAGE_ID=" ACTIONS_MESSAGE_ID,
			       "PRIORITY=%d", LOG_INFO, "HAK_PID=%d", action->pid, "HAK_UNIT=%s",
			       record->unit, "HAK_ACTION=%s", governor_method_text(action->method),
			       "HAK_TRIGGER=%s", governor_trigger_text(action->trigger),
			       "HAK_TARGET_BYTES=%" PRIu64, action->target_bytes,
			       "HAK_RELEASED_BYTES=%" PRIu64, record->released_bytes,
			       "HAK_DURATION_USEC=%" PRIu64, record->duration_us, "HAK_DRY_RUN=%d",
			       record->result == ACTIONS_DRY_RUN, "HAK_RESULT=%s",
			       actions_result_text(record->result), NULL) == 0;
}

static void say(const struct actions_record *record)
{
	const struct governor_action *action = &record->action;
	char sentence[512];

	put_sentence(sentence, sizeof sentence, record);
	if (!log_says(LOG_INFO) || (log_is_journal() && send_entry(record, sentence)))
		return;
	log_say(LOG_INFO,
		"%s: HAK_ACTION=%s HAK_TRIGGER=%s HAK_TARGET_BYTES=%" PRIu64
		" HAK_RELEASED_BYTES=%" PRIu64 " HAK_DURATION_USEC=%" PRIu64
		" HAK_DRY_RUN=%d HAK_RESULT=%s.",
		sentence, governor_method_text(action->method),
		governor_trigger_text(action->trigger), action->target_bytes,
		record->released_bytes, record->duration_us, record->result == ACTIONS_DRY_RUN,
		actions_result_text(record->result));
}

void actions_note_client(struct actions *actions, const struct client *client,
			 const struct governor_action *action, enum actions_result result,
			 uint64_t released_bytes, uint64_t duration_ns)
{
	struct actions_record record = {
		.when = time(NULL),
		.action = *action,
		.result = result,
		.released_bytes = released_bytes,
		.duration_us = duration_ns / 1000,
	};
	const char *unit = client->identity.unit;

	snprintf(record.unit, sizeof record.unit, "%s",
		 unit[0] != '\0' ? unit : client->group->name);
	snprintf(record.command, sizeof record.command, "%s", client->identity.comm);
	actions_note(actions, &record);
}

void actions_note(struct actions *actions, const struct actions_record *record)
{
	const struct governor_action *action = &record->action;

	actions->kept[actions->count++ % ACTIONS_KEPT] = *record;
	actions->results[record->result]++;
	/* What was not done is no release. */
	if (record->result != ACTIONS_FAILED && record->result != ACTIONS_DRY_RUN) {
		actions->releases[action->trigger][action->method]++;
		actions->released_bytes[action->trigger][action->method] += record->released_bytes;
	}
	say(record);
}

const struct actions_record *actions_before(const struct actions *actions, size_t back)
{
	if (back >= ACTIONS_KEPT || back >= actions->count - actions->first)
		return NULL;
	return &actions->kept[(actions->count - 1 - back) % ACTIONS_KEPT];
}
