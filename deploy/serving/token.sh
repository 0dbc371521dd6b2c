#!/bin/sh
# sh token.sh FILE > token.conf: the line that nginx.conf includes, from a file with the token.
set -eu
token=$(tr -d '\n' < "$1")
case "$token" in
    *[!A-Za-z0-9._~+/=-]* | "") echo "error: $1: not a token; expected as from: openssl rand -hex 32" >&2; exit 2 ;;
esac
printf '"Bearer %s" 1;\n' "$token"
