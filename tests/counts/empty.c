/* empty.c - a library of nothing, to be preloaded beside libhak: what the loader needs for any
 * library is no part of what libhak costs. */
extern const char hak_counts_empty;
const char hak_counts_empty = 0;
