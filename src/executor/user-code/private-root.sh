#!/bin/sh
# private-root.sh READABLE... -- COMMAND...
#
# Run as the first process of new user, mount and process namespaces: gives COMMAND a file system of its own, in which
# there is nothing but READABLE (read-only), an empty /tmp, and a read-only /proc of its own processes. What the host
# has besides (tokens, keys, results, homes) does not exist there.
set -eu
root=/mnt
mount -t tmpfs -o mode=0755,size=1m,nosuid,nodev none "$root"
mkdir "$root/tmp"
mount -t tmpfs -o mode=1777,size=64m,nosuid,nodev none "$root/tmp"
while [ "$1" != -- ]; do
  if [ -e "$root$1" ] || ! [ -e "$1" ]; then
    : # within a directory that is there already, or nothing this host has
  elif [ -L "$1" ]; then
    mkdir -p "$root${1%/*}"
    ln -s "$(readlink "$1")" "$root$1"
  else
    if [ -d "$1" ]; then
      mkdir -p "$root$1"
    else
      mkdir -p "$root${1%/*}"
      : >"$root$1"
    fi
    mount --rbind "$1" "$root$1"
    mount -o remount,bind,ro,nosuid "$root$1"
  fi
  shift
done
shift
mkdir -p "$root/dev" "$root/proc" "$root/.host"
for device in null zero random urandom; do
  : >"$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mount -t proc -o ro,nosuid,nodev,noexec none "$root/proc"
cd "$root"
pivot_root . .host
cd /tmp
umount -l /.host
mount -o remount,ro,mode=0755,size=1m,nosuid,nodev none /
exec env -i "$@"
