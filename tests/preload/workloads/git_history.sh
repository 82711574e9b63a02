#!/bin/bash
# Imports a history, packs it hard, checks it and prints what it holds.
# usage: git_history.sh STREAM
#
# Which delta a pack keeps may depend on how two threads share the work; what the repository holds
# may not. So the result is the objects, never the pack's bytes.
set -euo pipefail
stream=$1
git init -q --initial-branch=main repo
cd repo
git config pack.threads 2
git config gc.autoDetach false
git fast-import --quiet < "$stream"
git gc -q --aggressive --prune=now
git fsck --full --strict --no-progress
git rev-parse HEAD
git rev-list --count HEAD
git verify-pack -v .git/objects/pack/*.idx | grep -cE '^[0-9a-f]{40} (commit|tree|blob)'
git rev-list --objects --all | sha256sum
git cat-file --batch-check --batch-all-objects | sha256sum
git log --all --stat -p -M | sha256sum
git reset -q --hard
git blame --line-porcelain src/part1/file1.txt | sha256sum
git status --porcelain
