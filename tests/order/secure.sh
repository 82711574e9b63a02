#!/bin/sh
# secure.sh PROGRAM
# Goal: a set-user-ID program takes no settings from whoever runs it. Method: nobody runs two copies
# of a program with HAK_STATS=1, one as it is and one that is set-user-ID root: the first prints a
# summary, the second nothing. Skipped where that cannot be set up.
set -eu
skip() {
	echo "skipped: $1"
	exit 77
}
as_nobody() {
	setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}
[ "$(id -u)" -eq 0 ] || skip "only root can make a program set-user-ID root and be nobody"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
install -m 0755 "$1" "$folder/plain"
install -m 4755 "$1" "$folder/secure"
as_nobody test -x "$folder/plain" || skip "nobody cannot run what is in $folder"

said=$(HAK_STATS=1 as_nobody "$folder/plain" 2>&1) || { echo "the plain copy: $said"; exit 1; }
case $said in
"hak: plain["[0-9]*"] MiB: live "*) ;;
*) echo "the plain copy said: $said"; exit 1 ;;
esac
status=0
said=$(HAK_STATS=1 as_nobody "$folder/secure" 2>&1) || status=$?
[ "$status" -ne 0 ] || skip "the file system or the kernel ignores set-user-ID"
[ "$status$said" = 1 ] || { echo "the secure copy: $status $said"; exit 1; }
