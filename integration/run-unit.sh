#!/usr/bin/env bash
# run-unit.sh TEST... - runs the C unit tests; the output of a failing one is shown whole.
set -u
failed=0
for t in "$@"; do
    # The folder of the sources is the working directory: tests read common/vectors.
    if out=$("$t" 2>&1); then
        printf '  ok    %s\n' "${t#build/}"
    else
        printf '%s\n  FAIL  %s\n' "$out" "${t#build/}"
        failed=1
    fi
done
[ $# -gt 0 ] || { echo "run-unit: no tests" >&2; exit 1; }
exit $failed
