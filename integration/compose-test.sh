#!/usr/bin/env bash
# compose-test.sh - brings the lab of docker-compose.yml up, writes to DC while each of the three programs
# is killed once, and compares every key, value and expiry of DC and DR. Called by 'make test-compose'.
#
# Takes the Docker engine that answers, or starts one for the time of the test where it may. Where there
# is none, or its images can't be had, it says so and exits with 0 (FORCE=1: with 3). Everything it
# creates has a name and ports of its own and is removed at the end; the built images stay as a cache.
set -euo pipefail

cd "$(dirname "$0")/.."
ROUND_WRITES=25    # loops of each round of writes
ROUNDS_MIN=8       # rounds that are written at the least
DATABASES=(0 1 2)
WAIT_S=${WAIT_S:-120}
programs=(journal mirror applier)
declare -A http=([journal]=9501 [mirror]=9502 [applier]=9503) id=() back_ds=() how=() exit_code=()
export REDIS_IMAGE=${REDIS_IMAGE:-redis:8.0} KAFKA_IMAGE=${KAFKA_IMAGE:-apache/kafka:4.2.0} LAB_TAG=test
export COMPOSE_PROJECT_NAME=rwal-test-$$
work=$(mktemp -d)
engine_pid='' writer_pid='' lab_up=''

say() { printf 'compose-test: %s\n' "$*" >&2; }

not_run() {
    printf 'compose-test: not run: %s\n' "$*"
    [ -z "${FORCE:-}" ] || exit 3
    exit 0
}

fail() {
    local p
    say "FAILED: $*"
    for p in "${programs[@]}"; do
        say "last lines of $p:"
        docker logs --tail 15 "${id[$p]}" >&2 || true
    done
    exit 1
}

clean_up() {
    [ -z "$writer_pid" ] || { touch "$work/stop" && wait "$writer_pid"; } || true
    [ -z "$lab_up" ] || "${compose[@]}" down -v --remove-orphans -t 5 >"$work/down.log" 2>&1 || cat "$work/down.log" >&2
    if [ -n "$engine_pid" ]; then
        kill "$engine_pid" && wait "$engine_pid" || true
    fi
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# wait_until SECONDS COMMAND...
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.2
    done
}

# ---- the engine ----

engine_answers() { docker info >"$work/info.log" 2>&1; }

own_engine_answers() { engine_answers || ! kill -0 "$engine_pid" 2>/dev/null; }

start_engine() {
    export DOCKER_HOST=unix://$work/docker.sock
    say "no engine answers; starting one, with its data in build/docker"
    mkdir -p build/docker
    dockerd -H "$DOCKER_HOST" --data-root "$PWD/build/docker" --exec-root "$work/exec" \
        --pidfile "$work/dockerd.pid" >"$work/dockerd.log" 2>&1 &
    engine_pid=$!
    wait_until 60 own_engine_answers || true
    if ! engine_answers; then
        kill -0 "$engine_pid" 2>/dev/null || engine_pid=''
        not_run "dockerd does not start: $(tail -n 1 "$work/dockerd.log")"
    fi
}

find_engine() {
    command -v docker >/dev/null || not_run "there is no 'docker'"
    if docker compose version >/dev/null 2>&1; then
        compose=(docker compose)
    elif docker-compose version >/dev/null 2>&1; then
        compose=(docker-compose)
    else
        not_run "there is neither 'docker compose' nor 'docker-compose'"
    fi
    engine_answers && return
    [ -z "${DOCKER_HOST:-}" ] || not_run "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST"
    if [ "$(id -u)" != 0 ] || ! command -v dockerd >/dev/null; then
        not_run "no Docker engine answers, and dockerd can't be started here: $(tail -n 1 "$work/info.log")"
    fi
    start_engine
}

find_images() {
    local image
    for image in debian:trixie-slim "$REDIS_IMAGE" "$KAFKA_IMAGE"; do
        docker image inspect "$image" >/dev/null 2>&1 && continue
        say "pulling $image"
        timeout 600 docker pull -q "$image" >/dev/null 2>"$work/pull.log" ||
            not_run "image $image can't be had: $(tail -n 1 "$work/pull.log")"
    done
}

choose_ports() {
    local name port taken=' '
    for name in DC_REDIS DC_KAFKA DR_REDIS DR_KAFKA JOURNAL MIRROR APPLIER; do
        port=$((20000 + RANDOM % 12000))
        while [[ $taken == *" $port "* ]] || (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
            port=$((port + 1))
        done
        taken+="$port "
        export "${name}_PORT=$port"
    done
}

# ---- the lab ----

lab() {
    "${compose[@]}" "$@" >"$work/compose.log" 2>&1 && return
    cat "$work/compose.log" >&2
    say "FAILED: compose $*"
    exit 1
}

# note_ids SERVICE... - to be called while they run; compose does not name containers that just restart.
note_ids() {
    local service
    for service in "$@"; do
        id[$service]=$("${compose[@]}" ps -q "$service")
    done
}

# redis SITE ARGUMENT... - exit code 1 when Redis answers with an error.
redis() { docker exec -i "${id[$1-redis]}" redis-cli -e "${@:2}"; }

redis_answers() { [ "$(redis "$1" ping 2>/dev/null)" = PONG ]; }

at_work() { docker exec "${id[$1]}" http-ok "${http[$1]}/readyz" >/dev/null 2>&1; }

start_time() { docker inspect -f '{{.State.StartedAt}}' "${id[$1]}"; }

restarted() { [ "$(start_time "$1")" != "$2" ]; }

# Kills a program as a crash would, from outside its container, so that it is the restart policy that brings it
# back; Docker takes its own 'kill' for the wish of a user. Where the engine forbids that, its 'kill' has to do.
kill_program() {
    local name=$1 killed pid started
    started=$(start_time "$name")
    pid=$(docker inspect -f '{{.State.Pid}}' "${id[$name]}")
    if docker run --rm --pid host --network none --user 0 --entrypoint sh "$REDIS_IMAGE" -c "kill -KILL $pid" 2>/dev/null; then
        how[$name]='restart policy'
    else
        docker kill -s KILL "${id[$name]}" >/dev/null
        docker start "${id[$name]}" >/dev/null
        how[$name]='docker start'
    fi
    wait_until "$WAIT_S" restarted "$name" "$started" || fail "$name did not come back after SIGKILL"
    wait_until "$WAIT_S" at_work "$name" || fail "$name is not at work again after SIGKILL"
    killed=$(docker inspect -f '{{.State.FinishedAt}}' "${id[$name]}")
    back_ds[$name]=$((($(date +%s%N) - $(date -d "$killed" +%s%N)) / 100000000))
}

# ---- the workload ----

# The commands of round $1: every type, expiries, transactions, scripts, several databases.
commands() {
    local r=$1 i k
    for ((i = 1; i <= ROUND_WRITES; i++)); do
        k=$((i % 5))
        cat <<C
incr counter
incrbyfloat float:$k 0.25
set "str:$r:$i" "value $r $i \x00\xff\r\n"
append log:$k "r$r i$i,"
set ttl:$r:$i v ex $((7200 + i))
set gone:$r:$i v px 200
set extended:$k v ex 100
expire extended:$k 9000
getex extended:$k persist
pexpire extended:$k 7200000
setbit bits:$k $((r * 40 + i)) 1
hset hash:$k f$r $i f:$i $r
hincrby hash:$k sum 1
rpush list:$k $r:$i
lpush list:$k $i:$r
ltrim list:$k 0 400
sadd set:$k m$r:$i n$i
spop set:$k
zadd zset:$k $i m$i $r r$r
zincrby zset:$k 1.5 m$i
zpopmin zset:$k
pfadd hll:$k e$r:$i
geoadd geo:$k 13.361389 38.115556 p$i
xadd stream:$k * f$i v$r
multi
incr tx:counter
lpush tx:list $r:$i
set tx:last "$r $i" ex 7200
exec
eval "redis.call('incr', KEYS[1]) return redis.call('hset', KEYS[2], ARGV[1], ARGV[2])" 2 lua:$k lua:hash $r:$i v
select 1
set one:$r:$i v
set kept:$r:$i v ex 7200
incr counter
move one:$r:$i 2
select 2
rename one:$r:$i two:$i
set last $r:$i
select 0
set temp:$i v
copy temp:$i copy:$i replace
unlink temp:$i
C
    done
    printf '%s\n' "xreadgroup group g c$((r % 3)) count 20 streams stream:1 stream:2 > >" \
        "xautoclaim stream:1 g c9 0 0 count 3" "select 2" "incr round"
    ((r != 3)) || echo flushdb
    ((r != 5)) || echo "swapdb 1 2"
    [ -z "$field_expiry" ] || printf '%s\n' "select 0" "hset fields a$r 1 b$r 2" "hexpire fields 7200 fields 1 a$r"
}

# Sends round $1; what Redis refuses goes to a file.
write_round() {
    commands "$1" | redis dc >"$work/replies"
    grep -E '^[A-Z]{3,} ' "$work/replies" >>"$work/refused" || true
    # A value that is larger than one record of the log.
    head -c 2500000 /dev/urandom | redis dc -x set "large:$(($1 % 3))" >/dev/null
}

write_rounds() {
    local r=0
    while ((r < ROUNDS_MIN)) || [ ! -e "$work/stop" ]; do
        r=$((r + 1))
        write_round "$r"
        echo "$r" >"$work/rounds"
    done
}

seed() {
    redis dc function load "#!lua name=lib
redis.register_function('hello', function(keys, args) return 'hello' end)" >/dev/null
    redis dc xgroup create stream:1 g 0 mkstream >/dev/null
    redis dc xgroup create stream:2 g 0 mkstream >/dev/null
    field_expiry=$(redis dc command info hexpire)
    write_round 0
}

# ---- the comparison ----

# The lines of contents.lua, less the keys of redis-applier itself.
contents() { redis "$1" -n "$2" eval "$(cat integration/lab/contents.lua)" 0 | sed '/ redis-wal:/d'; }

marker_is() { [ "$(redis "$1" get marker)" = "$2" ]; }

# Everything before the marker in DC's order of writes is on DR when the marker is. Scanning makes DC delete
# what has expired, since a database that only looks expired still has the key.
drain() {
    local db mark=$RANDOM$RANDOM begin=$SECONDS
    sleep 0.3 # longer than the keys 'gone:' live
    for db in "${DATABASES[@]}"; do
        redis dc -n "$db" --scan >/dev/null
    done
    redis dc set marker "$mark" >/dev/null
    wait_until "$WAIT_S" marker_is dr "$mark" || fail "DR did not catch up within $WAIT_S s"
    drained_s=$((SECONDS - begin))
}

# Prints 'keys on DC, keys on DR, missing, extra, values that differ, expiries that differ' of a database.
compare() {
    contents dc "$1" >"$work/dc.$1"
    contents dr "$1" >"$work/dr.$1"
    [ "$(grep -vc '^field ' "$work/dc.$1")" = "$(redis dc -n "$1" dbsize)" ] ||
        echo "database $1: not all keys were compared" >>"$work/differences"
    awk -v guard="$guard_ms" -v report="$work/differences" '
        { name = $1 == "field" ? "field " : ""; for (i = 4; i <= NF; i++) name = name " " $i }
        NR == FNR { dc++; value[name] = $1 " " $2; expiry[name] = $3; next }
        { dr++ }
        !(name in value) { extra++; print "only on DR:" name >>report; next }
        value[name] != $1 " " $2 { differ++; print "value:" name >>report }
        expiry[name] != ($3 > 0 ? $3 - guard : $3) { late++; print "expiry:" name, expiry[name], $3 >>report }
        { delete value[name] }
        END {
            for (name in value) { missing++; print "only on DC:" name >>report }
            print dc + 0, dr + 0, missing + 0, extra + 0, differ + 0, late + 0
        }' "$work/dc.$1" "$work/dr.$1"
}

print_programs() {
    local p
    printf '\n%-10s %-18s %12s %10s\n' program 'killed, back by' 'at work in' 'exit code'
    for p in "${programs[@]}"; do
        printf '%-10s %-18s %10d.%d s %9s\n' "$p" "${how[$p]}" $((back_ds[$p] / 10)) $((back_ds[$p] % 10)) "${exit_code[$p]}"
    done
}

print_databases() {
    local db row
    printf '\n%-10s %8s %8s %8s %8s %8s %8s\n' database 'on DC' 'on DR' missing extra value expiry
    for db in "${DATABASES[@]}"; do
        row=$(compare "$db")
        # shellcheck disable=SC2086
        printf '%-10s %8d %8d %8d %8d %8d %8d\n' "$db" $row
    done
}

check_counter() {
    local rounds want
    rounds=$(cat "$work/rounds")
    want=$(((rounds + 1) * ROUND_WRITES))
    printf '%-37s %s\n' 'rounds of writes' "$rounds" "INCRs of a key, its value on DC, DR" \
        "$want, $(redis dc get counter), $(redis dr get counter)" 'expiry guard of DR' "$((guard_ms / 1000)) s" \
        'DR had everything after' "$drained_s s"
    [ "$(redis dr get counter)" = "$want" ] || echo "counter" >>"$work/differences"
    [ "$(redis dc function dump | sha1sum)" = "$(redis dr function dump | sha1sum)" ] || echo "functions" >>"$work/differences"
}

find_engine
find_images
choose_ports
say "building the images"
lab build
say "starting the lab as $COMPOSE_PROJECT_NAME"
lab_up=yes
lab up -d dc-redis dr-redis
note_ids dc-redis dr-redis
wait_until "$WAIT_S" redis_answers dc || fail "dc-redis does not answer"
seed # what the first snapshot has to carry over
lab up -d
note_ids "${programs[@]}"
for p in "${programs[@]}"; do
    wait_until "$WAIT_S" at_work "$p" || fail "$p is not at work"
done

say "writing, and killing each program once"
write_rounds &
writer_pid=$!
for p in "${programs[@]}"; do
    kill_program "$p"
done
touch "$work/stop"
wait "$writer_pid" || fail "the writer failed"
writer_pid=''
[ ! -s "$work/refused" ] || fail "DC refused commands: $(sort "$work/refused" | uniq -c | head -n 3)"
drain

guard_ms=$(redis dr hget redis-wal:position:orders guard_ms)
[[ $guard_ms =~ ^[0-9]+$ ]] || fail "the position on DR has no guard"
databases=$(print_databases)
summary=$(check_counter)
for p in "${programs[@]}"; do
    docker stop -t 30 "${id[$p]}" >/dev/null
    exit_code[$p]=$(docker inspect -f '{{.State.ExitCode}}' "${id[$p]}")
done
print_programs
printf '%s\n\n%s\n' "$databases" "$summary"
if [ -s "$work/differences" ]; then
    head -n 20 "$work/differences" >&2
    fail "DR differs from DC in $(wc -l <"$work/differences") places"
fi
for p in "${programs[@]}"; do
    [ "${exit_code[$p]}" = 0 ] || fail "$p ended with ${exit_code[$p]} at SIGTERM"
done
printf '\ncompose-test: ok, DR equals DC\n'
