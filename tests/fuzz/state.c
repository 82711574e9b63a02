/* Goal: whatever stands in a state whose checksums are right, hakd goes on with a table that is
 * valid, and what it saves of that is restored as the same.
 *
 * Method: the bytes are the content of a state that claims to be of this boot. What was restored is
 * saved and restored once more, and once more saved: the last two must be the same bytes. Pages are
 * not at hand, so every client is one that is expected.
 */
#include "judge.h"

#include "base/log.h"
#include "fleet/record.h"
#include "govern/keep.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct fleet {
	struct table table;
	struct effects effects;
	struct advisor advisor;
	struct record record;
	struct state state;
};

static void begin(struct fleet *fleet)
{
	memset(fleet, 0, sizeof *fleet);
	FUZZ_CHECK(table_init(&fleet->table) == 0);
	state_init(&fleet->state);
	fleet->record.table = &fleet->table;
	record_keep(&fleet->record, &fleet->state);
	keep_sections(&fleet->state, &fleet->effects, &fleet->advisor);
}

static void end(struct fleet *fleet)
{
	FUZZ_CHECK(table_is_valid(&fleet->table));
	state_deinit(&fleet->state);
	table_deinit(&fleet->table);
}

/* As state.h has it. */
static int write_state(const struct state *state, const uint8_t *bytes, size_t count)
{
	uint8_t header[STATE_HEADER_BYTES] = "hakSTATE";
	struct hak_wire wire = hak_wire_of(header, sizeof header);
	int fd = memfd_create("state", MFD_CLOEXEC);

	hak_wire_skip(&wire, 8);
	hak_wire_put(&wire, STATE_VERSION, 4);
	hak_wire_put(&wire, state_checksum(bytes, count), 4);
	memcpy(hak_wire_skip(&wire, STATE_BOOT_BYTES), state->boot, STATE_BOOT_BYTES);
	hak_wire_put(&wire, 2, 8);
	hak_wire_put(&wire, count, 8);
	hak_wire_put(&wire, 0, 4);
	hak_wire_put(&wire, state_checksum(header, wire.used), 4);
	FUZZ_CHECK(pwrite(fd, header, sizeof header, 0) == sizeof header);
	FUZZ_CHECK(pwrite(fd, bytes, count, sizeof header) == (ssize_t)count);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	static struct fleet first, second;
	int fd;

	log_init(LOG_CRIT);
	begin(&first);
	begin(&second);
	fd = write_state(&first.state, bytes, count);
	FUZZ_CHECK(state_take(&first.state, dup(fd)) == STATE_WHOLE);
	state_save(&first.state);
	FUZZ_CHECK(!first.state.has_failed);
	FUZZ_CHECK(state_take(&second.state, dup(fd)) == STATE_WHOLE);
	state_save(&second.state);
	FUZZ_CHECK(first.state.saved.used == second.state.saved.used);
	end(&first);
	end(&second);
	close(fd);
	return 0;
}
