#include "base/size_class.h"

/* A row says the block's size and the units of a slab: the fewest that hold 32 blocks (16 above
 * 8 KiB, 8 above 16 KiB) and leave at most a thirty-second over. */
#define ROW(bytes, units)                                                                          \
	{                                                                                          \
		.block_bytes = (bytes), .unit_count = (units),                                     \
		.block_count = (units)*HAK_UNIT_BYTES / (bytes),                                   \
		.reciprocal = (((uint64_t)1 << 40) + (bytes)-1) / (bytes),                         \
	}

/* clang-format off */
const struct hak_size_class hak_size_classes[HAK_CLASS_COUNT + 1] = {
	{.block_bytes = 0},
	ROW(16, 1), ROW(32, 1), ROW(48, 1), ROW(64, 1), ROW(80, 1), ROW(96, 1),
	ROW(112, 1), ROW(128, 1),
	ROW(160, 1), ROW(192, 1), ROW(224, 1), ROW(256, 1), ROW(320, 1), ROW(384, 1),
	ROW(448, 1), ROW(512, 1), ROW(640, 2), ROW(768, 2), ROW(896, 2), ROW(1024, 2),
	ROW(1280, 3), ROW(1536, 3), ROW(1792, 4), ROW(2048, 4),
	ROW(2304, 5), ROW(2560, 5), ROW(2816, 6), ROW(3072, 6), ROW(3328, 7), ROW(3584, 7),
	ROW(3840, 8), ROW(4096, 8), ROW(4608, 9), ROW(5120, 10), ROW(5632, 11),
	ROW(6144, 12), ROW(6656, 13), ROW(7168, 14), ROW(7680, 15), ROW(8192, 16),
	ROW(9216, 9), ROW(10240, 10), ROW(11264, 11), ROW(12288, 12), ROW(13312, 13),
	ROW(14336, 14), ROW(15360, 15), ROW(16384, 16), ROW(18432, 9), ROW(20480, 10),
	ROW(22528, 11), ROW(24576, 12), ROW(26624, 13), ROW(28672, 14), ROW(30720, 15),
	ROW(32768, 16),
};

const uint8_t hak_size_class_table[HAK_TABLE_BYTES_MAX / HAK_GRAIN_BYTES + 1] = {
	1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 10, 10, 11, 11, 12,
	12, 13, 13, 13, 13, 14, 14, 14, 14, 15, 15, 15, 15, 16, 16, 16,
	16, 17, 17, 17, 17, 17, 17, 17, 17, 18, 18, 18, 18, 18, 18, 18,
	18, 19, 19, 19, 19, 19, 19, 19, 19, 20, 20, 20, 20, 20, 20, 20,
	20,
};
/* clang-format on */
