#!/bin/sh
# Make or refresh a virtual environment: sh scripts/environment.sh VENV REQUIREMENTS
#
# Quick when nothing changed: what was installed is remembered in a stamp inside the environment,
# made from the interpreter's version and the text of every requirements file involved. PYTHON
# chooses the interpreter; without it the first of python3, python3.14 ... python3.11 that is new
# enough is taken. A requirements file that includes requirements.txt is a developer's: it also
# puts the project itself in, editable, so that pytest finds the plugin by its entry point.
set -eu

venv=$1
requirements=$2
oldest="3.11"

say() { printf '%s\n' "$*" >&2; }

# Print "3.x" when the given interpreter runs and is new enough; fail otherwise. Old versions
# and version-manager shims of unselected versions fail here like absent ones.
usable_version() {
    "$1" -c 'import sys; v = sys.version_info[:2]; print("%d.%d" % v); sys.exit(v < (3, 11))' 2>/dev/null
}

if [ -n "${PYTHON:-}" ]; then
    if ! version=$(usable_version "$PYTHON"); then
        say "PYTHON=$PYTHON is ${version:-not an interpreter that runs}; Python $oldest or newer is needed."
        exit 1
    fi
else
    for PYTHON in python3 python3.14 python3.13 python3.12 python3.11 none; do
        if version=$(usable_version "$PYTHON"); then break; fi
    done
    if [ "$PYTHON" = none ]; then
        say "No Python $oldest or newer was found: python3 is $(python3 -V 2>&1 || echo missing)."
        say "Install one, or name it: make PYTHON=/path/to/python3.12 ..."
        exit 1
    fi
fi

fingerprint() {
    cat requirements.txt "$requirements" pyproject.toml | cksum | sed "s/^/Python $version, requirements /"
}

python=$venv/bin/python
stamp=$venv/.installed-$(basename "$requirements" .txt)
wanted=$(fingerprint)

if [ "$(usable_version "$python" || true)" = "$version" ] && [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ]; then
    exit 0
fi

if [ "$(usable_version "$python" || true)" != "$version" ]; then
    if ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
        say "$PYTHON ($version) cannot make virtual environments: its venv module is missing."
        say "On Debian and Ubuntu: apt-get install python$version-venv (or python3-venv)."
        exit 1
    fi
    say "Making $venv with Python $version"
    "$PYTHON" -m venv --clear "$venv"
fi

# Run pip, and say once a second on one line of a terminal what it has come to; without a terminal say
# so every ten seconds. What pip printed is shown when it fails.
install() {
    log=$venv/pip.log
    "$python" -m pip install --progress-bar off "$@" >"$log" 2>&1 &
    pip=$!
    trap 'kill "$pip" 2>/dev/null; exit 130' INT TERM
    seconds=0
    while kill -0 "$pip" 2>/dev/null; do
        sleep 1
        seconds=$((seconds + 1))
        packages=$(grep -c '^Collecting ' "$log" || true)
        doing="collecting, $packages packages"
        if grep -q '^Installing collected' "$log"; then doing="unpacking $packages packages"; fi
        if [ -t 2 ]; then
            printf '\r\033[K  %s, %d s' "$doing" "$seconds" >&2
        elif [ $((seconds % 10)) -eq 0 ]; then
            say "  $doing, $seconds s"
        fi
    done
    if [ -t 2 ]; then printf '\r\033[K' >&2; fi
    trap - INT TERM
    if ! wait "$pip"; then
        cat "$log" >&2
        exit 1
    fi
}

say "Installing $requirements into $venv"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
install --requirement "$requirements"
if grep -q '^-r requirements.txt' "$requirements"; then
    install --no-deps --no-build-isolation --editable .
fi
printf '%s\n' "$wanted" >"$stamp"
