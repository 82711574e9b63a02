/* probe.h - what slow paths tell to those who trace: static probes of the provider "hak".
 *
 * A probe is one nop in the code and a note in the library that says where, so it costs nothing
 * until perf, bpftrace, systemtap or gdb puts a breakpoint there. They are on slow paths alone.
 * docs/libhak.7.scd has the table of them; tests/gdb holds it to the library.
 *
 * sys/sdt.h is a header without a library (Debian: systemtap-sdt-dev). Where it is missing there
 * are no probes, and everything else is the same.
 */
#ifndef HAK_BASE_PROBE_H
#define HAK_BASE_PROBE_H

#if defined(__has_include)
#if __has_include(<sys/sdt.h>)
#define SDT_USE_VARIADIC
#include <sys/sdt.h>
#endif
#endif

/* HAK_PROBE(name, ...): up to four numbers or pointers, of 4 or 8 bytes: gdb 13 does not know the
 * names of shorter registers. Without probes they are looked at by the
 * compiler, and never computed. */
#if defined(STAP_PROBEV)
#define HAK_PROBE(name, ...) STAP_PROBEV(hak, name, __VA_ARGS__)
#else
int hak_probe_ignored(int first, ...);
#define HAK_PROBE(name, ...) ((void)sizeof hak_probe_ignored(0, __VA_ARGS__))
#endif

#endif
