/* Goal: whatever anybody sends to the client socket is judged without harm, and a hello that is
 * believed is one that can be.
 *
 * Method: the bytes are a message. What the decoder takes is within its bounds and comes out the
 * same after an encoding; what it refuses leaves the caller's hello alone.
 */
#include "judge.h"

#include "proto/hello.h"
#include "proto/page.h"

#include <string.h>

static void judge_believed(const struct hak_hello *hello, const uint8_t *bytes, size_t count)
{
	uint8_t encoded[HAK_HELLO_BYTES];
	uint64_t table_end = hello->region_base + hello->superslab_count * HAK_PAGE_SUPERSLAB_BYTES;

	FUZZ_CHECK(hello->version == HAK_HELLO_VERSION || hello->version == HAK_HELLO_VERSION + 1);
	FUZZ_CHECK(hello->bytes == count);
	FUZZ_CHECK(hello->superslab_count >= 1 &&
		   hello->superslab_count <= HAK_PAGE_SUPERSLABS_MAX);
	FUZZ_CHECK(hello->region_base != 0 && hello->region_base % HAK_PAGE_SUPERSLAB_BYTES == 0);
	FUZZ_CHECK(table_end > hello->region_base && table_end <= HAK_PAGE_ADDRESS_END);
	FUZZ_CHECK(memchr(hello->exe, '\0', sizeof hello->exe) != NULL);
	hak_hello_encode(hello, encoded);
	/* The last byte of exe is its end, whatever came. */
	FUZZ_CHECK(memcmp(encoded, bytes,
			  count < HAK_HELLO_BYTES ? HAK_HELLO_BYTES_MIN : HAK_HELLO_BYTES - 1) ==
		   0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct hak_hello hello, untouched;
	enum hak_hello_error error;

	memset(&hello, 0xa5, sizeof hello);
	untouched = hello;
	error = hak_hello_decode(bytes, count, &hello);
	FUZZ_CHECK(hak_hello_error_text(error)[0] != '\0');
	if (error == HAK_HELLO_OK)
		judge_believed(&hello, bytes, count);
	else
		FUZZ_CHECK(memcmp(&hello, &untouched, sizeof hello) == 0);
	return 0;
}
