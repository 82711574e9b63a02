#!/bin/bash
# Forks by the hundred: subshells, command substitutions, pipelines and jobs in the background.
# usage: bash_forks.sh COUNT
set -euo pipefail
count=$1
declare -A table=()
for ((i = 0; i < count; i++)); do
	table[k$((i % 50))]+=$(echo "$((i * i % 1009))-${#table[@]}")
	if ((i % 10 == 0)); then
		(
			for key in "${!table[@]}"; do table[$key]=${table[$key]^^}; done
			printf '%s\n' "${table[@]}" | sort | tail -n 1
		)
	fi
	if ((i % 25 == 0)); then
		for j in 1 2 3 4; do (exit "$j") & done
		wait
	fi
done
for key in $(printf '%s\n' "${!table[@]}" | sort); do echo "$key ${table[$key]}"; done | sha256sum
