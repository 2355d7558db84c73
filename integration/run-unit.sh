#!/usr/bin/env bash
# run-unit.sh TEST... - runs the C unit tests, as many at once as there are cores; the output of a failing one
# is shown whole. Tests read common/vectors, so the folder of the sources is their working directory.
set -u

run_one() {
    local out
    if out=$("$1" 2>&1); then
        printf '  ok    %s\n' "${1#build/}"
    else
        printf '%s\n  FAIL  %s\n' "$out" "${1#build/}"
        return 1
    fi
}
export -f run_one

[ $# -gt 0 ] || { echo "run-unit: no tests" >&2; exit 1; }
printf '%s\0' "$@" | xargs -0 -P "${JOBS:-$(nproc)}" -I{} bash -c 'run_one {}'
