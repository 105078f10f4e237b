#!/bin/sh
# Written by "kivitendo-task-server adopt" in the place of kivitendo's own script, which is kept as
# /var/www/kivitendo-erp/scripts/task_server.pl.orig; "kivitendo-task-server adopt --undo" puts it back.
#
# kivitendo's web interface calls this with "start" and "stop".
set -u
PROGRAM=/usr/bin/kivitendo-task-server
KIVITENDO=/var/www/kivitendo-erp

task_server() {
    "$PROGRAM" --kivitendo-dir "$KIVITENDO" "$@"
}

UNIT=kivitendo-task-server@kivitendo.service
REQUEST=/run/kivitendo-task-server/start/kivitendo

# Started from here, the service would end with the web server. So systemd is asked to start it:
# by root directly, by others with a file that kivitendo-task-server@kivitendo.path waits for.
start() {
    if [ "$(id -u)" = 0 ]; then
        systemctl start "$UNIT"
        return
    fi
    if task_server status >/dev/null 2>&1; then
        task_server start
        return
    fi
    if ! touch "$REQUEST" 2>/dev/null; then
        echo "only root and the user www-data may start the service" >&2
        return 4
    fi
    seconds=0
    while [ "$seconds" -lt 60 ]; do
        sleep 1
        seconds=$((seconds + 1))
        if task_server status 2>/dev/null; then
            return 0
        fi
        case $(systemctl is-active "$UNIT") in
            failed | inactive) [ "$seconds" -lt 5 ] || break ;;
        esac
    done
    rm -f "$REQUEST"
    systemctl status --no-pager --lines=5 "$UNIT" || true
    echo "the service was not started; root sees the reason with: journalctl -u $UNIT"
    return 7
}

stop() {
    if [ "$(id -u)" = 0 ]; then
        systemctl stop "$UNIT"
    else
        task_server stop
    fi
}

case "$*" in
    start) start && exit 0 || exit $? ;;
    stop) stop && exit 0 || exit $? ;;
    restart)
        # a wrong configuration must not cost a running service
        task_server check-config >/dev/null || exit $?
        stop || exit $?
        start && exit 0 || exit $?
        ;;
esac
task_server "$@"
