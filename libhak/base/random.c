#include "base/random.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>

static _Atomic uint64_t secret; /* 0: not read yet */
static _Atomic uint64_t state;

uint64_t hak_random_secret(void)
{
	uint64_t known = atomic_load_explicit(&secret, memory_order_relaxed);
	const void *bytes;

	if (hak_likely(known != 0))
		return known;
	/* 16 bytes, of which the C library takes the first seven for its stack protector and the
	 * second eight for mangled pointers: mixed, so that neither is told by the other. */
	bytes = (const void *)getauxval(AT_RANDOM);
	if (bytes != NULL) {
		uint64_t halves[2];

		memcpy(halves, bytes, sizeof halves);
		known = (halves[0] ^ halves[1] >> 17) * 0x9e3779b97f4a7c15ull + halves[1];
	}
	known |= 1;
	atomic_store_explicit(&secret, known, memory_order_relaxed);
	return known;
}

/* Steele, Lea, Flood 2014. */
uint64_t hak_random_next(void)
{
	uint64_t at = atomic_fetch_add_explicit(&state, 0x9e3779b97f4a7c15ull,
						memory_order_relaxed) +
		      hak_random_secret();

	at = (at ^ at >> 30) * 0xbf58476d1ce4e5b9ull;
	at = (at ^ at >> 27) * 0x94d049bb133111ebull;
	return at ^ at >> 31;
}
