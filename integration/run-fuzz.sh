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
    # libFuzzer talks a lot about inputs it found useful; only a finding is worth reading.
    "$f" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=25 -artifact_prefix="build/corpus/$name-" \
        "${seeds[@]}" >"build/corpus/$name.log" 2>&1 || {
        tail -n 60 "build/corpus/$name.log" >&2
        echo "fuzz: $name failed; the input is build/corpus/$name-*" >&2
        exit 1
    }
    printf '        %s\n' "$(grep -a '^Done ' "build/corpus/$name.log" || echo "no summary")"
done
[ $# -gt 0 ] || { echo "run-fuzz: no fuzzers" >&2; exit 1; }
