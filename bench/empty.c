/* empty.c - a library that does nothing: what preloading any library costs a process. The bench's
 * start-up target is measured from there. */
extern int hak_bench_empty;
int hak_bench_empty;
