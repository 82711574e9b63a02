#include "govern/credit.h"

void hak_credit_begin(struct hak_credit *credit, uint64_t now_ns)
{
	*credit = (struct hak_credit){
		.spent_ns = HAK_CREDIT_NS_MAX - HAK_CREDIT_NS_FIRST,
		.paid_until_ns = now_ns,
	};
}

void hak_credit_note_marks(struct hak_credit *credit, uint64_t calls, uint64_t bytes)
{
	credit->call_count += calls + bytes / HAK_CREDIT_CALL_BYTES;
	credit->marked_bytes += bytes;
}

/* Returns the calls that these marks took. */
static uint64_t take_calls(struct hak_credit *credit, uint64_t bytes)
{
	uint64_t calls = credit->call_count;

	if (bytes == 0)
		return 0;
	if (bytes < credit->marked_bytes) {
		calls = bytes / (credit->marked_bytes / (calls + 1) + 1);
		credit->marked_bytes -= bytes;
	} else {
		credit->marked_bytes = 0;
	}
	credit->call_count -= calls;
	return calls;
}

void hak_credit_drop(struct hak_credit *credit, uint64_t bytes)
{
	(void)take_calls(credit, bytes);
}

void hak_credit_charge(struct hak_credit *credit, uint64_t bytes, uint64_t now_ns)
{
	uint64_t most_ns = HAK_CREDIT_NS_MAX + HAK_CREDIT_PAUSE_NS_MAX / HAK_CREDIT_SHARE;
	uint64_t paid_ns = 0;

	/* Another thread may have read the clock later and been here before. */
	if (now_ns > credit->paid_until_ns) {
		paid_ns = (now_ns - credit->paid_until_ns) / HAK_CREDIT_SHARE;
		credit->paid_until_ns = now_ns;
	}
	credit->spent_ns -= paid_ns < credit->spent_ns ? paid_ns : credit->spent_ns;
	credit->spent_ns += take_calls(credit, bytes) * HAK_CREDIT_CALL_NS;
	if (credit->spent_ns > most_ns)
		credit->spent_ns = most_ns;
}

uint64_t hak_credit_due_ns(const struct hak_credit *credit, uint64_t saved_ns)
{
	uint64_t most_ns = HAK_CREDIT_NS_MAX - saved_ns;

	if (credit->spent_ns <= most_ns)
		return credit->paid_until_ns;
	return credit->paid_until_ns + (credit->spent_ns - most_ns) * HAK_CREDIT_SHARE;
}
