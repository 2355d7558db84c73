#!/usr/bin/env bash
# http-ok.sh PORT/PATH - the health check of the images: exit code 0 when http://127.0.0.1:PORT/PATH
# answers 200, else 1 and the answer. Needs nothing but bash, which the slim base image has.
set -eu

exec 3<>"/dev/tcp/127.0.0.1/${1%%/*}"
printf 'GET /%s HTTP/1.0\r\n\r\n' "${1#*/}" >&3
answer=$(cat <&3)
[[ $answer == HTTP/1.?' 200 '* ]] && exit 0
echo "${answer##*$'\n'}"
exit 1
