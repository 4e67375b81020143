#!/bin/sh
# Check the JavaScript: sh scripts/javascript.sh lint|format|types|test
#
# Needs Node.js 20 or newer, and but for the tests the packages of package-lock.json, which are put
# into node_modules. What cannot run is skipped and says so; with REQUIRE_SERVICES=1 it fails.
set -eu
cd "$(dirname "$0")/.."
check=$1

skip() {
    case ${REQUIRE_SERVICES:-0} in
        0) printf 'Skipped, the %s of the JavaScript: %s\n' "$check" "$1"; exit 0 ;;
        *) printf 'Failed, the %s of the JavaScript: %s\n' "$check" "$1" >&2; exit 1 ;;
    esac
}

version=$(node --version 2>/dev/null) || skip "there is no Node.js."
major=${version#v}
[ "${major%%.*}" -ge 20 ] || skip "Node.js is $version, and 20 is the oldest that will do."

# Put the packages into node_modules where they are not those of the lock file.
install() {
    stamp=node_modules/.installed
    wanted=$(cat package-lock.json .npmrc | cksum)
    [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ] && return
    command -v npm >/dev/null || skip "there is no npm."
    log=$(mktemp)
    if ! npm ci --ignore-scripts --no-audit --no-fund >"$log" 2>&1; then
        cat "$log" >&2
        rm "$log"
        skip "npm could not install what package-lock.json names."
    fi
    rm "$log"
    printf '%s\n' "$wanted" >"$stamp"
}

case $check in
    lint) install && node_modules/.bin/biome check --error-on-warnings ;;
    format) install && node_modules/.bin/biome check --write ;;
    types) install && node_modules/.bin/tsc --project . ;;
    test)
        set -- --test-reporter=spec --test-reporter-destination=stdout
        if [ -n "${JUNIT:-}" ]; then
            set -- "$@" --test-reporter=junit --test-reporter-destination="${JUNIT%.xml}-javascript.xml"
        fi
        # shellcheck disable=SC2046 # No name of a test has a space.
        node --test "$@" $(find tests/tracing/static -name '*.test.js')
        ;;
    *) echo "There is no check called $check: lint, format, types, test." >&2; exit 2 ;;
esac
