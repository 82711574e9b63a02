#include "base/gate.h"

#include "base/os.h"
#include "base/report.h"

/* How long the closer sleeps between two looks at a pass that is in use. */
#define POLL_NS 50000

/* Sleeps until the gate has opened once more, or returns at once where it has. */
static void wait_until_open(struct hak_gate *gate)
{
	uint32_t turn = atomic_load_explicit(&gate->turn_count, memory_order_seq_cst);

	if (hak_gate_is_closed(gate))
		hak_os_futex_wait(&gate->turn_count, turn, 0);
}

void hak_gate_wait(struct hak_gate *gate, struct hak_gate_pass *pass)
{
	while (atomic_load_explicit(&gate->closer, memory_order_seq_cst) != pass) {
		if (!hak_gate_is_closed(gate))
			return;
		/* Step back, so that the closer can go on, and try again when it is done. */
		atomic_fetch_sub_explicit(&pass->inside_count, 1, memory_order_seq_cst);
		wait_until_open(gate);
		atomic_fetch_add_explicit(&pass->inside_count, 1, memory_order_seq_cst);
	}
}

void hak_gate_close(struct hak_gate *gate, struct hak_gate_pass *mine)
{
	struct hak_gate_pass *nobody = NULL;

	while (!atomic_compare_exchange_strong_explicit(
		&gate->closer, &nobody, mine, memory_order_seq_cst, memory_order_seq_cst)) {
		nobody = NULL;
		wait_until_open(gate);
	}
}

void hak_gate_close_pass(struct hak_gate_pass *pass)
{
	uint32_t inside;

	/* seq_cst: pairs with hak_gate_enter(); acquire: pairs with hak_gate_leave() */
	while ((inside = atomic_load_explicit(&pass->inside_count, memory_order_seq_cst)) != 0)
		hak_os_futex_wait(&pass->inside_count, inside, POLL_NS);
}

void hak_gate_open(struct hak_gate *gate)
{
	HAK_CHECK(hak_gate_is_closed(gate));
	atomic_store_explicit(&gate->closer, NULL, memory_order_seq_cst);
	atomic_fetch_add_explicit(&gate->turn_count, 1, memory_order_seq_cst);
	hak_os_futex_wake(&gate->turn_count, INT32_MAX);
}
