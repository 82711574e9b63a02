#include "proto/hello.h"

#include "proto/page.h"
#include "proto/wire.h"

void hak_hello_encode(const struct hak_hello *hello, uint8_t bytes[HAK_HELLO_BYTES])
{
	struct hak_wire wire = hak_wire_of(bytes, HAK_HELLO_BYTES);

	hak_wire_put(&wire, HAK_HELLO_MAGIC, 8);
	hak_wire_put(&wire, hello->version, 2);
	hak_wire_put(&wire, hello->bytes, 2);
	hak_wire_put(&wire, hello->superslab_count, 4);
	hak_wire_put(&wire, hello->region_base, 8);
	hak_wire_put(&wire, hello->library_version, 8);
	hak_wire_put(&wire, hello->reserved, 8);
	memcpy(hak_wire_skip(&wire, HAK_HELLO_EXE_BYTES), hello->exe, HAK_HELLO_EXE_BYTES);
}

/* One that fills its field has no end: its last byte is given up. */
static void get_exe(const uint8_t *bytes, size_t count, char exe[HAK_HELLO_EXE_BYTES])
{
	memset(exe, 0, HAK_HELLO_EXE_BYTES);
	if (count >= HAK_HELLO_BYTES)
		memcpy(exe, bytes + HAK_HELLO_BYTES_MIN, HAK_HELLO_EXE_BYTES - 1);
}

enum hak_hello_error hak_hello_decode(const uint8_t *bytes, size_t count, struct hak_hello *hello)
{
	uint8_t copy[HAK_HELLO_BYTES_MIN];
	struct hak_wire wire = hak_wire_of(copy, sizeof copy);
	struct hak_hello read;

	if (count < HAK_HELLO_BYTES_MIN)
		return HAK_HELLO_SHORT;
	memcpy(copy, bytes, sizeof copy);
	if (hak_wire_get(&wire, 8) != HAK_HELLO_MAGIC)
		return HAK_HELLO_FOREIGN;
	read.version = (uint16_t)hak_wire_get(&wire, 2);
	read.bytes = (uint16_t)hak_wire_get(&wire, 2);
	read.superslab_count = (uint32_t)hak_wire_get(&wire, 4);
	read.region_base = hak_wire_get(&wire, 8);
	read.library_version = hak_wire_get(&wire, 8);
	read.reserved = hak_wire_get(&wire, 8);
	if (!hak_wire_is_near(read.version, HAK_HELLO_VERSION))
		return HAK_HELLO_UNKNOWN;
	if (read.bytes != count)
		return HAK_HELLO_SHORT;
	if (read.superslab_count - 1 >= HAK_PAGE_SUPERSLABS_MAX || read.region_base == 0 ||
	    read.region_base % HAK_PAGE_SUPERSLAB_BYTES != 0 ||
	    read.region_base >
		    HAK_PAGE_ADDRESS_END - read.superslab_count * HAK_PAGE_SUPERSLAB_BYTES)
		return HAK_HELLO_RANGE;
	get_exe(bytes, count, read.exe);
	*hello = read;
	return HAK_HELLO_OK;
}

const char *hak_hello_error_text(enum hak_hello_error error)
{
	switch (error) {
	case HAK_HELLO_OK:
		break;
	case HAK_HELLO_SHORT:
		return "the hello is not as long as it says";
	case HAK_HELLO_FOREIGN:
		return "not a hello of this protocol";
	case HAK_HELLO_UNKNOWN:
		return "a version of the protocol that is not known here";
	case HAK_HELLO_RANGE:
		return "the hello has a field that cannot be";
	}
	return "no error";
}
