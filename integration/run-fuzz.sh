#!/usr/bin/env bash
# run-fuzz.sh SECONDS FUZZER... - runs each libFuzzer program from its seeds (<part>/fuzz/<name>/).
# New inputs go to build/corpus, so that longer runs by hand go on where the last one ended.
set -eu
seconds=$1
shift
for f in "$@"; do
    name=$(basename "$f")
    part=$(basename "$(dirname "$(dirname "$f")")")
    mkdir -p "build/corpus/$name"
    seeds=("build/corpus/$name")
    [ -d "$part/fuzz/$name" ] && seeds+=("$part/fuzz/$name")
    printf '  fuzz  %s (%s s)\n' "$name" "$seconds"
    "$f" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=25 -print_final_stats=0 -verbosity=0 \
        -artifact_prefix="build/corpus/$name-" "${seeds[@]}" || { echo "fuzz: $name failed; the input is build/corpus/$name-*" >&2; exit 1; }
done
[ $# -gt 0 ] || { echo "run-fuzz: no fuzzers" >&2; exit 1; }
