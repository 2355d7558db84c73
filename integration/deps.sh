#!/usr/bin/env bash
# deps.sh - installs what building and testing need: Debian's packages, librdkafka and hiredis at the
# floor, Kafka's jars, and Python's test libraries. Safe to run again: what is there is left alone.
#
#   deps.sh [build|kafka|python|tools]...    without arguments: all of them
#
# Why the two libraries are built on Debian 12: librdkafka up to 2.6.0 can't log in with SCRAM to Kafka 4,
# and Debian 12's hiredis has no TLS. They are built from Debian 13's source packages.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
prefix=$root/build/deps
kafka_libs=$root/build/kafka/libs
RDKAFKA_FLOOR=2.6.1
HIREDIS_FLOOR=1.0

say() { printf 'deps: %s\n' "$*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        say "'$*' needs root; run it, then this script again"
        exit 1
    fi
}

# Installs those packages of the list that are not there yet.
packages() {
    local missing=()
    for p in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
    done
    ((${#missing[@]})) || return 0
    say "installing ${missing[*]}"
    # A second run at the same time waits for dpkg's lock instead of failing.
    as_root apt-get -qq -o DPkg::Lock::Timeout=300 update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 \
        install --no-install-recommends "${missing[@]}" >/dev/null
}

libraries_fit() {
    PKG_CONFIG_PATH=$prefix/lib/pkgconfig pkg-config --exists "rdkafka >= $RDKAFKA_FLOOR" \
        "hiredis >= $HIREDIS_FLOOR" hiredis_ssl 2>/dev/null
}

# The mirror that this machine's own apt uses, so that no other host has to be reachable.
debian_mirror() {
    apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -v security | head -n 1
}

build_libraries() {
    libraries_fit && return 0
    packages gcc make dpkg-dev ca-certificates libssl-dev zlib1g-dev libzstd-dev libcurl4-openssl-dev libsasl2-dev
    local work apt mirror
    work=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$work'" RETURN
    mirror=$(debian_mirror)
    mkdir -p "$work/lists/partial"
    printf 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s trixie main\n' \
        "$mirror" >"$work/sources.list"
    apt=(-qq -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$work/lists" -o APT::Sandbox::User=root)
    say "building librdkafka and hiredis from Debian 13's source packages (about 90 s)"
    (
        cd "$work"
        apt-get "${apt[@]}" update
        apt-get "${apt[@]}" source --only-source librdkafka hiredis >/dev/null
        cd "$work"/librdkafka-*/
        ./configure --prefix="$prefix" --disable-lz4-ext >"$work/log" 2>&1 || { tail -n 30 "$work/log" >&2; exit 1; }
        make -j"$(nproc)" libs >"$work/log" 2>&1 || { tail -n 30 "$work/log" >&2; exit 1; }
        # The examples of the package need not link here, so only src is installed.
        make -C src install >"$work/log" 2>&1 || { tail -n 30 "$work/log" >&2; exit 1; }
        cd "$work"/hiredis-*/
        make -j"$(nproc)" USE_SSL=1 PREFIX="$prefix" LIBRARY_PATH=lib install >"$work/log" 2>&1 || {
            tail -n 30 "$work/log" >&2
            exit 1
        }
    )
    libraries_fit || { say "the libraries were built, but pkg-config does not find them in $prefix"; exit 1; }
}

# What the three programs are built with.
deps_build() {
    packages gcc clang make pkg-config libssl-dev libyaml-dev libuv1-dev libmicrohttpd-dev libjansson-dev \
        libisal-dev libxxhash-dev uthash-dev liblzf-dev libcmocka-dev zlib1g-dev libzstd-dev \
        libcurl4-openssl-dev libsasl2-dev
    # clang's sanitizers and libFuzzer; the package is named after clang's major version.
    packages "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev"
    if ! libraries_fit; then
        # Debian 13 and later have them as packages.
        if apt-cache madison librdkafka-dev 2>/dev/null | awk '{print $3}' |
            while read -r v; do dpkg --compare-versions "$v" ge "$RDKAFKA_FLOOR" && echo yes; done | grep -q yes; then
            packages librdkafka-dev libhiredis-dev
        fi
    fi
    build_libraries
}

# Linters and the real servers that the tests start.
deps_tools() {
    packages clang-format clang-tidy redis-server redis-sentinel redis-tools kcat haproxy procps git
    # Debian starts a Redis and a Sentinel at installation; the tests start their own on free ports.
    if command -v systemctl >/dev/null && systemctl is-active --quiet redis-server 2>/dev/null; then
        say "note: the package's own redis-server runs as a service; nothing here uses it"
    fi
}

deps_kafka() {
    if ! compgen -G "$kafka_libs/kafka_2.13-*.jar" >/dev/null; then
        packages default-jre-headless maven
        say "fetching Kafka's jars"
        mvn -q -B -f "$root/integration/kafka/pom.xml" dependency:copy-dependencies \
            -DoutputDirectory="$kafka_libs.part" -DincludeScope=runtime
        rm -rf "$kafka_libs"
        mv "$kafka_libs.part" "$kafka_libs"
    fi
    command -v java >/dev/null || packages default-jre-headless
}

deps_python() {
    local venv=$root/build/venv want=$root/integration/requirements.txt
    if ! cmp -s "$want" "$venv/requirements.txt"; then
        packages python3 python3-venv
        say "installing Python's test libraries"
        python3 -m venv "$venv"
        "$venv/bin/pip" install -q --disable-pip-version-check -r "$want"
        cp "$want" "$venv/requirements.txt"
    fi
}

mkdir -p "$root/build"
[ -f "$root/build/.gitignore" ] || echo '*' >"$root/build/.gitignore"
(($#)) || set -- build tools kafka python
for part in "$@"; do
    case $part in
        build | tools | kafka | python) "deps_$part" ;;
        *) say "no part '$part'; try build, tools, kafka, python"; exit 2 ;;
    esac
done
