#!/usr/bin/env bash
# Runs all tests from a fresh clone: installs what they need, then runs every one of them.
#
#   tests/run.sh
#
# Needs Rust (cargo) and, where something must be installed, apt-get as root or through sudo.
# The last line of its output reads "N passed, N failed". Ends with 0 only where nothing failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

SDK='purecloudplatformclientv2==269.0.0'
SCHEMA='jsonschema==4.26.0'
DUCKDB='duckdb==2.0.0'
PANDAS='pandas==3.1.1'

say() { printf 'tests/run.sh: %s\n' "$*" >&2; }

# die WHAT REMEDY
die() {
    say "$1"
    say "remedy: $2"
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# apt_install WHAT PACKAGE...: by apt, or a message that says what to install by hand
apt_install() {
    local what=$1
    shift
    command -v apt-get >/dev/null || die "$what is missing and there is no apt-get" "install $what by hand (Debian calls it: $*)"
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        die "$what is missing, and installing it takes root" "run as root: apt-get install $*"
    fi
    say "installing $what ($*)"
    if ! { as_root apt-get update -qq &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } >&2; then
        die "apt-get could not install $what" "read its message above, then: apt-get install $*"
    fi
}

# Cargo is found where rustup puts it, though a shell of root may not have it on its path.
need_cargo() {
    if ! command -v cargo >/dev/null && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
        PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    fi
    command -v cargo >/dev/null ||
        die "cargo is missing" "install Rust 1.95 or newer with rustup, and run without sudo: sudo is asked only where needed"
}

# SQLite is compiled from its C source.
need_compiler() {
    command -v cc >/dev/null || apt_install "a C compiler" gcc libc6-dev
    command -v cc >/dev/null || die "there is still no cc" "install a C compiler and its headers"
}

python_can_make_venvs() { python3 -c 'import ensurepip, venv' 2>/dev/null; }

# The tests speak to the daemon through the vendor's own SDK: a Python folder of its own, made once.
need_python() {
    local folder=$1 list="$SDK $SCHEMA $DUCKDB $PANDAS" made
    python_can_make_venvs || apt_install "python3 with venv" python3 python3-venv
    python_can_make_venvs || die "python3 still cannot make a venv" "install python3 and python3-venv of the same version"
    made=$(cat "$folder/installed" 2>/dev/null || true)
    if [ "$made" != "$list" ] || ! "$folder/bin/python" -c 'import PureCloudPlatformClientV2, duckdb, jsonschema, pandas' 2>/dev/null; then
        say "installing $list into $folder"
        rm -rf "$folder"
        python3 -m venv "$folder" || die "python3 -m venv failed" "read its message above"
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$SDK" "$SCHEMA" "$DUCKDB" "$PANDAS" >&2 ||
            die "pip could not install $list" "it needs the Python package index, or a mirror set in pip's configuration"
        printf '%s\n' "$list" >"$folder/installed"
    fi
    WAYSIDE_TEST_PYTHON=$(cd "$folder" && pwd)/bin/python
    export WAYSIDE_TEST_PYTHON
}

# A test lies to the daemon about the time.
need_faketime() {
    command -v faketime >/dev/null || apt_install faketime faketime
    command -v faketime >/dev/null || die "there is still no faketime" "install the package faketime"
}

# Files for sticks are read and written by the tool whose format they have.
need_age() {
    command -v age >/dev/null || apt_install age age
    command -v age >/dev/null || die "there is still no age" "install the package age"
}

# Two machines with a link between them are made of network namespaces, which takes root.
want_ip() {
    command -v ip >/dev/null && return
    if command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null; }; then
        say "installing ip (iproute2)"
        { as_root apt-get update -qq && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends iproute2; } >&2 || true
    fi
    command -v ip >/dev/null || say "NOT TESTED: a network link that is cut, for want of the command ip (iproute2)"
}

# One of the loading examples is for PostgreSQL. Where it cannot be had, its test says so.
want_postgres() {
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && return
    if command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null; }; then
        say "installing PostgreSQL (postgresql)"
        { as_root apt-get update -qq && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql; } >&2 || true
    fi
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || say "NOT TESTED: loading into PostgreSQL, which cannot be installed here"
}

need_cargo
need_compiler
want_postgres
want_ip
need_faketime
need_age
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
need_python "$target/test-venv"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
export CARGO_TERM_COLOR=never
status=0
cargo test --locked --no-fail-fast 2>&1 | tee "$log" || status=$?

read -r programs passed failed < <(awk '
    /^test result: / { programs++; passed += $4; failed += $6 }
    END { print programs + 0, passed + 0, failed + 0 }' "$log")
[ "$programs" -gt 0 ] || die "cargo test ran nothing" "read its message above"
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
    say "a test program did not build or ended without a result: counted as one failure, see above"
    failed=1
fi
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
