#!/usr/bin/env bash
# lint.sh BUILD_DIR - the rules of the house that a machine can check: formatting, sizes of files and
# functions, the layer law, no writable globals. BUILD_DIR holds the objects of a plain build
# (build/gcc). Every violation is one line 'file:line: what'; exit code 1 if there is any.
set -euo pipefail
export LC_ALL=C

FILE_LINES_MAX=800
FUNCTION_LINES_MAX=80

# The layer law: a file of common/ includes only files of common/ in its own layer or a lower one. A
# module is the file's name without its ending; 'conf_yaml' belongs to 'conf' unless it has a row.
LAYERS='
0 err mem buf crc clock slot utf8
1 log frame resp rdb merge cmd conf
2 metrics process_metrics http net
3 kafka daemon
'
# Writable symbols that are allowed: what is the process' own, not one object's.
WRITABLE_ALLOWED='
common/log.c log_state
'

cd "$(dirname "$0")/.."
if (($# != 1)) || [ ! -d "$1" ]; then
    echo "lint: usage: lint.sh BUILD_DIR, a folder with built objects" >&2
    exit 2
fi
build_dir=${1%/}
violations=$(mktemp)
trap 'rm -f "$violations"' EXIT

report() { printf '%s\n' "$*" | tee -a "$violations"; }

# All files of the tree with one of the endings, without what was built.
files() {
    local args=()
    for ending in "$@"; do
        args+=(-o -name "*.$ending")
    done
    find . \( -path ./build -o -path ./.git -o -name __pycache__ \) -prune -o \
        -type f \( "${args[@]:1}" \) -print | sed 's,^\./,,' | sort
}

check_format() {
    local out
    mapfile -t sources < <(files c h)
    if out=$(clang-format --dry-run -Werror --ferror-limit=1 "${sources[@]}" 2>&1); then
        return 0
    fi
    grep -E '^[^ ]+:[0-9]+:[0-9]+: ' <<<"$out" | sed -E 's/^([^:]+:[0-9]+):.*/\1: not formatted; run make fmt/' |
        while read -r line; do report "$line"; done
    # clang-format itself failed (it is missing, or the style file is wrong).
    grep -qE '^[^ ]+:[0-9]+:[0-9]+: ' <<<"$out" || report ".clang-format:1: $out"
}

check_file_sizes() {
    local n
    while read -r f; do
        n=$(wc -l <"$f")
        ((n <= FILE_LINES_MAX)) || report "$f:$n: the file has $n lines, more than $FILE_LINES_MAX"
    done < <(files c h py sh)
}

# In formatted code a function's body is what stands between a '{' and a '}' in column one.
check_function_sizes() {
    mapfile -t sources < <(files c h)
    awk -v max="$FUNCTION_LINES_MAX" '
        FNR == 1 { start = 0 }
        /^[A-Za-z_].*\(/ { head = $0; head_line = FNR }
        /^\{$/ { start = FNR }
        /^\}/ && start {
            lines = FNR - start - 1
            if (lines > max) {
                name = head
                sub(/\(.*/, "", name)
                sub(/.*[ *]/, "", name)
                printf "%s:%d: function %s has %d lines, more than %d\n", FILENAME, head_line, name, lines, max
            }
            start = 0
        }' "${sources[@]}" | while read -r line; do report "$line"; done
}

# Prints the layer of a module of common/, or nothing.
layer_of() {
    local name=$1
    while :; do
        awk -v name="$name" '{ for (i = 2; i <= NF; i++) if ($i == name) { print $1; found = 1 } } END { exit !found }' \
            <<<"$LAYERS" && return 0
        [[ $name == *_* ]] || return 0
        name=${name%_*}
    done
}

check_include() {
    local file=$1 line=$2 target=$3 part=${1%%/*} target_part=${3%%/*} own theirs
    if [[ $target != */* || $target == *..* || ! -f $target ]]; then
        report "$file:$line: include \"$target\" is not written from the root of the tree"
    elif [[ $part == common && $target_part != common ]]; then
        report "$file:$line: common/ may not include $target"
    elif [[ $target_part != common && $target_part != "$part" ]]; then
        report "$file:$line: $part may include only its own files and common/, not $target"
    elif [[ $file == common/*/* ]]; then
        return 0 # tests and fuzzers may use every layer
    elif [[ $part == common ]]; then
        own=${layer[$(module "$file")]:-}
        theirs=${layer[$(module "$target")]:-}
        if [[ -n $own && -n $theirs ]] && ((theirs > own)); then
            report "$file:$line: layer $own may not include $target of layer $theirs"
        fi
    fi
}

module() {
    local base=${1##*/}
    echo "${base%.*}"
}

check_layers() {
    declare -A layer=()
    local f name
    for f in common/*.[ch]; do
        name=$(module "$f")
        [ -n "${layer[$name]:-}" ] && continue
        layer[$name]=$(layer_of "$name")
        [ -n "${layer[$name]}" ] || report "$f:1: module '$name' has no layer; give it one in integration/lint.sh"
    done
    mapfile -t sources < <(files c h)
    while IFS=: read -r f line target; do
        check_include "$f" "$line" "$target"
    done < <(grep -nHE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "${sources[@]}" |
        sed -E 's/^([^:]+:[0-9]+):[^"]*"([^"]*)".*/\1:\2/')
}

# State hidden in a module makes a second object of it impossible. Constants with addresses in them
# stand in .data.rel.ro, which is made read-only after loading.
check_writable() {
    local obj src sym line objects
    mapfile -t objects < <(find "$build_dir" -path '*/test' -prune -o -path '*/fuzz' -prune -o -name '*.o' -print | sort)
    ((${#objects[@]})) || report "$build_dir:1: no objects there; build first"
    for obj in "${objects[@]}"; do
        src=${obj#"$build_dir"/}
        src=${src%.o}.c
        [ -f "$src" ] || continue # left over from a file that is gone
        while read -r sym; do
            grep -qxF "$src $sym" <<<"$WRITABLE_ALLOWED" && continue
            line=$(grep -nwF -m 1 -- "$sym" "$src" | cut -d: -f1 || true)
            report "$src:${line:-1}: '$sym' is a writable global or static variable"
        done < <(objdump -t "$obj" | awk '
            NF > 3 && $(NF - 2) ~ /^(\.data|\.bss|\.tdata|\.tbss|\*COM\*)/ && $(NF - 2) !~ /^\.data\.rel\.ro/ &&
            $NF !~ /^(\.|__(asan|odr_asan|sancov|ubsan))/ { sub(/\.[0-9]+$/, "", $NF); print $NF }' | sort -u)
    done
}

check_scripts() {
    local f out
    while read -r f; do
        out=$(bash -n "$f" 2>&1) || report "$f:1: ${out//$'\n'/; }"
        head -n 12 "$f" | grep -qE '^set -[eu]' || report "$f:1: has no 'set -eu' in its first lines"
    done < <(files sh)
}

for check in check_format check_file_sizes check_function_sizes check_layers check_writable check_scripts; do
    "$check"
done
if [ -s "$violations" ]; then
    printf 'lint: %d violations\n' "$(wc -l <"$violations")" >&2
    exit 1
fi
echo "lint: ok ($(files c h | wc -l) C files, $(files py sh | wc -l) scripts)"
