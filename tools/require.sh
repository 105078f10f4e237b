# Sourced by our tools: installs the Debian packages they need. Uses the caller's say().

require() {
    missing=$(not_installed "$@")
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        say "needed first: sudo apt-get install$missing"
        exit 1
    fi
    log=$(mktemp)
    # one of us at a time: two tools may run beside each other, as they do in tools/test
    exec 9</var/lib/dpkg
    flock 9
    missing=$(not_installed "$@") # the other may have installed them meanwhile
    if [ -n "$missing" ]; then
        say "installing the packages$missing"
        apt_get update
        # shellcheck disable=SC2086 # a list of packages
        apt_get install --yes --no-install-recommends $missing
    fi
    exec 9>&-
    rm -f "$log"
}

not_installed() {
    for package; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || state=
        [ "$state" = installed ] || printf ' %s' "$package"
    done
}

# apt-get, which waits for other programs that install something
apt_get() {
    patience=60
    until DEBIAN_FRONTEND=noninteractive apt-get -q "$@" >"$log" 2>&1 9>&-; do
        if [ "$patience" = 0 ] || ! grep -Eq '^E: (Could not get lock|Unable to lock)' "$log"; then
            say "apt-get $1 failed: $(grep '^E:' "$log" | tail -n 1) (all it said: $log)"
            exit 1
        fi
        [ "$patience" != 60 ] || say "another program is installing packages: waiting, five minutes at most"
        patience=$((patience - 1))
        sleep 5
    done
}
