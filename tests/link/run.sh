#!/bin/sh
# run.sh PROGRAM: runs it with HAK_STATS=1; both its own verdict and the summary are asked for.
set -eu
summary=$(HAK_STATS=1 "$1" 2>&1) || { echo "$summary"; exit 1; }
case $summary in
*"] SuperSlabs: open"*) ;;
*) echo "HAK_STATS=1 printed no summary: the constructor did not run"; exit 1 ;;
esac
