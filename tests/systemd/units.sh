#!/bin/sh
# usage: units.sh BUILD
#
# Goal: the units are without a mistake that systemd would pass over in silence, and the daemon's
# sandbox is as tight as its work allows; so is its advisor's.
# Method: everything is installed below a prefix of its own, where systemd-analyze looks at it. Each
# line about one of ours is a mistake; of the exposure level, from 0 to 10, 1.0 is allowed.
set -eu
command -v systemd-analyze >/dev/null || {
	echo "systemd is not installed"
	exit 77
}
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
cmake --install "$1" --prefix "$prefix" --component daemon >/dev/null
# The unit reloads by hakctl.
cmake --install "$1" --prefix "$prefix" --component cli >/dev/null

units=$prefix/lib/systemd/system
# The empty word at the end stands for the system's own units.
export SYSTEMD_UNIT_PATH="$units:"
# The manual is another component. What is wrong with units of this host is not asked.
systemd-analyze verify --man=no "$units"/hakd* 2>"$prefix/mistakes" || true
if grep hakd "$prefix/mistakes"; then
	exit 1
fi
systemd-analyze security --no-pager --offline=true --threshold=10 "$units/hakd.service"
# It has two capabilities.
systemd-analyze security --no-pager --offline=true --threshold=15 "$units/hakd-advisor.service"
