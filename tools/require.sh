# Sourced by the build tools: installs the Debian packages they need. Uses the caller's say().

require() {
    missing=
    for package; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || state=
        [ "$state" = installed ] || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        say "needed first: sudo apt-get install$missing"
        exit 1
    fi
    say "installing$missing"
    log=$(mktemp)
    # shellcheck disable=SC2086 # a list of packages
    if ! { apt-get -q update && DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y install --no-install-recommends $missing; } >"$log" 2>&1; then
        say "apt-get failed: $(grep '^E:' "$log" | tail -n 1) (all it said: $log)"
        exit 1
    fi
    rm -f "$log"
}
