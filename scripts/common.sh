# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by ./dev and by the scripts beneath it; expects IOMESH_ROOT.

: "${IOMESH_ROOT:=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}"
export IOMESH_ROOT
export DEBIAN_FRONTEND=noninteractive
IOMESH_JOBS=${IOMESH_JOBS:-$(nproc)}
export IOMESH_JOBS

say() { printf '\n== %s\n' "$*"; }

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -n "$@"
    else
        die "needs root or sudo to run: $*"
    fi
}

packages_wanted() {
    sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' "$IOMESH_ROOT/scripts/packages"
}

packages_missing() {
    local have
    have=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' 2>/dev/null |
        sed -n 's/ installed$//p' | sort)
    comm -23 <(packages_wanted | sort) <(printf '%s\n' "$have")
}

# apt runs only when something of scripts/packages is missing.
install_packages() {
    local missing
    missing=$(packages_missing)
    [ -n "$missing" ] || return 0
    say "installing packages: ${missing//$'\n'/ }"
    as_root apt-get -q update
    # shellcheck disable=SC2086 # One word per package.
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 \
        install --no-install-recommends $missing
    [ -z "$(packages_missing)" ] || die "still missing: $(packages_missing | tr '\n' ' ')"
}

# Quiet unless it fails.
configure_preset() {
    local log
    log=$(log_file "configure-$1")
    (cd "$IOMESH_ROOT" && cmake --preset "$1") >"$log" 2>&1 || {
        cat "$log"
        return 1
    }
}

build_preset() {
    configure_preset "$1" &&
        (cd "$IOMESH_ROOT" && cmake --build --preset "$1" -- -j "$IOMESH_JOBS" --quiet)
}

log_file() {
    mkdir -p "$IOMESH_ROOT/build/log"
    printf '%s/build/log/%s\n' "$IOMESH_ROOT" "$1"
}

# The tree may belong to another user than the one who tests it; git refuses to list it then.
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=$IOMESH_ROOT

# A test part says how many of its tests passed and failed; several calls add up.
tally() {
    [ -z "${TALLY:-}" ] || printf '%d %d\n' "$1" "$2" >>"$TALLY"
}

# check NAME COMMAND...: one test of a part. Goes on after a failure; `check_end` decides.
CHECKS_PASSED=0
CHECKS_FAILED=0
check() {
    local name=$1
    shift
    if "$@"; then
        CHECKS_PASSED=$((CHECKS_PASSED + 1))
        printf 'ok   %s\n' "$name"
    else
        CHECKS_FAILED=$((CHECKS_FAILED + 1))
        printf 'FAIL %s\n' "$name"
    fi
}

check_end() {
    tally "$CHECKS_PASSED" "$CHECKS_FAILED"
    [ "$CHECKS_FAILED" = 0 ]
}

# run_ctest PRESET LABELS [OPTION...]: the tests with these labels, counted.
run_ctest() {
    local preset=$1 labels=$2 results status=0
    shift 2
    results=$(log_file "ctest-$preset-${labels//[^a-z]/-}.xml")
    rm -f "$results"
    ctest --test-dir "$IOMESH_ROOT/build/$preset" -L "$labels" --output-on-failure \
        --test-output-size-passed 1048576 --test-output-size-failed 1048576 \
        --output-junit "$results" "$@" || status=$?
    if [ -n "${TALLY:-}" ] && [ -f "$results" ]; then
        "$IOMESH_ROOT/scripts/ctest-tally" "$results" >>"$TALLY" || status=1
    fi
    return $status
}

# tree_files PATTERN...: files of the tree, committed or about to be, NUL between them.
tree_files() {
    git -C "$IOMESH_ROOT" ls-files -z --cached --others --exclude-standard --deduplicate -- "$@" |
        while IFS= read -r -d '' file; do
            [ ! -f "$IOMESH_ROOT/$file" ] || printf '%s\0' "$file"
        done
}
