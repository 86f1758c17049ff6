#!/bin/sh
# Lays down the units and their companions, as root, and starts nothing. DESTDIR=FOLDER writes them there instead, for packages. What an
# operator has written (reelsift.toml, drop-ins) stays as it is. ops/deployment.md says what comes before and after.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
etc=${DESTDIR:-}/etc
to() { install -D --mode=644 "$here/$1" "$etc/$2"; }

to reelsift.sysusers sysusers.d/reelsift.conf
to reelsift.tmpfiles tmpfiles.d/reelsift.conf
to journald.conf systemd/journald.conf.d/reelsift.conf
to reelsift.logrotate logrotate.d/reelsift
for unit in "$here"/*.service "$here"/*.timer; do to "$(basename "$unit")" "systemd/system/$(basename "$unit")"; done
to reelsift-.service.d/oneshot.conf systemd/system/reelsift-.service.d/oneshot.conf
if [ -n "${DESTDIR:-}" ]; then
    to reelsift.toml reelsift/reelsift.toml
    exit
fi
systemd-sysusers "$etc/sysusers.d/reelsift.conf"
systemd-tmpfiles --create "$etc/tmpfiles.d/reelsift.conf"
[ -e "$etc/reelsift/reelsift.toml" ] || install --mode=640 --group=reelsift "$here/reelsift.toml" "$etc/reelsift/reelsift.toml"
systemctl daemon-reload
