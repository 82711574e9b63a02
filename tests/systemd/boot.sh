#!/bin/sh
# usage: boot.sh ROOT, in new namespaces (machine.py makes them)
#
# Boots systemd as process 1 below ROOT, which is an overlay over this host's files. Whatever it
# could change of the host is read-only or not there: the kernel's settings, /sys, devices, the
# clock.
set -eu
root=$1
cd "$root"

mount -t proc -o nosuid,nodev,noexec proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
if [ -e proc/sysrq-trigger ]; then
	mount --bind /dev/null proc/sysrq-trigger
fi
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
mount -t tmpfs -o nosuid,nodev,mode=0755 tmpfs run
mount -t tmpfs -o nosuid,nodev tmpfs tmp

# A /dev of its own: journald makes a link there. No kmsg and no console: nothing is written to the
# host's log.
mount -t tmpfs -o nosuid,mode=0755 tmpfs dev
for device in null zero full random urandom tty; do
	: >"dev/$device"
	mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
mount -t tmpfs -o nosuid,nodev tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr

ip link set lo up 2>/dev/null || true
exec setpriv --bounding-set \
	-sys_time,-wake_alarm,-sys_module,-sys_rawio,-syslog,-audit_control,-audit_read,-mac_admin \
	env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	chroot . /lib/systemd/systemd --system --unit=basic.target
