#!/usr/bin/env bash
# run-tests.sh - everything that must hold before a change is merged, in five steps; stops at the first
# that fails. Called by 'make test'. FUZZ_SECONDS (10) is the time of each fuzzer, JOBS (the number of
# cores) how many compilers run at once, T picks end-to-end tests ('-k name').
set -euo pipefail

cd "$(dirname "$0")/.."
export FUZZ_SECONDS=${FUZZ_SECONDS:-10}
jobs=${JOBS:-$(nproc)}
summary=()
steps=5
number=0

# step NAME COMMAND... - runs it under a header line and notes how long it took.
step() {
    local name=$1 begin=$SECONDS took
    shift
    number=$((number + 1))
    printf '\n==== %d/%d %s\n' "$number" "$steps" "$name"
    if ! "$@"; then
        printf '\n==== FAILED at %d/%d %s after %d s\n' "$number" "$steps" "$name" $((SECONDS - begin)) >&2
        exit 1
    fi
    took=$((SECONDS - begin))
    summary+=("$name $took s")
    printf '==== %s: ok, %d s\n' "$name" "$took"
}

# The make targets of all unit test programs of a flavour.
unit_programs() {
    local flavour=$1 f
    for f in */test/test_*.c; do
        printf 'build/%s/%s\n' "$flavour" "${f%.c}"
    done
}

build_both() {
    local compiler programs
    for compiler in gcc clang; do
        mapfile -t programs < <(unit_programs "$compiler")
        make --no-print-directory -j "$jobs" CC="$compiler" SAN= all "${programs[@]}" || return 1
    done
}

unit_sanitized() {
    local programs
    mapfile -t programs < <(unit_programs gcc-address-undefined)
    make --no-print-directory -j "$jobs" CC=gcc SAN=address,undefined "${programs[@]}" || return 1
    make --no-print-directory CC=gcc SAN=address,undefined unit
}

step lint make --no-print-directory -j "$jobs" CC=gcc SAN= lint
step build build_both
step unit unit_sanitized
step fuzz make --no-print-directory -j "$jobs" FUZZ_SECONDS="$FUZZ_SECONDS" fuzz
step e2e make --no-print-directory CC=gcc SAN= e2e

printf '\n==== all %d steps passed in %d s:' "$steps" "$SECONDS"
printf ' %s;' "${summary[@]}"
printf '\n'
