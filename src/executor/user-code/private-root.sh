#!/bin/sh
# private-root.sh MOUNTS READABLE... -- COMMAND...
#
# Run as the first process of new mount, process, network, IPC and host name namespaces, and perhaps a user namespace:
# makes a file system in which there is nothing but READABLE (read-only), an empty /tmp, four devices, and a read-only
# /proc of its own processes. What the host has besides (tokens, keys, results, homes) does not exist there. COMMAND
# begins at its root, and is to change into /inner, which holds it all: whoever does cannot make user namespaces.
#
# It mounts, and sets nothing: what it changes is in its own mount namespace, and ends with it. MOUNTS names the
# executor's mount namespace, in which this must never run.
set -eu
if [ "$(readlink /proc/self/ns/mnt)" = "$1" ]; then exit 1; fi
shift
base=/mnt
root=$base/inner
mount -t tmpfs -o mode=0755,size=1m,nosuid,nodev none "$base"
mkdir "$root" "$root/tmp"
mount -t tmpfs -o mode=1777,size=64m,nr_inodes=8k,nosuid,nodev none "$root/tmp"

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
  fi
  shift
done
shift
# Each by itself: what is mounted below a directory does not follow it when it becomes read-only.
for place in $(cut -d " " -f 5 /proc/self/mountinfo); do
  place=$(printf %b "$place")
  case $place in
    "$root"/tmp) ;;
    # The host's own mounts there are out of sight.
    "$root"/*) [ ! -e "$place" ] || mount -o remount,bind,ro,nosuid,nodev "$place" ;;
  esac
done

mkdir -p "$root/dev" "$root/proc" "$base/.host"
for device in null zero random urandom; do
  : >"$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"

# Within a container a /proc of one's own may be out of reach: then there is none at all.
mount_own() { mount -t proc -o "$1,nosuid,nodev,noexec$own" none "$2" 2>/dev/null; }
mkdir "$base/proc"
if own=,subset=pid && mount_own ro "$root/proc" || own= && mount_own ro "$root/proc"; then
  # Out of COMMAND's sight once it is in /inner: until then it may need to describe a user namespace.
  mount_own rw "$base/proc"
  borrowed=
else
  # Until the last mount is made: mount and umount do not work without.
  mount --rbind /proc "$base/proc"
  borrowed=/proc
fi

# COMMAND finds its first programs where it expects them.
for place in "$root"/*; do
  [ -e "$base/${place##*/}" ] || ln -s "inner/${place##*/}" "$base/${place##*/}"
done
cd "$base"
pivot_root . .host
cd /
umount -l /.host
rmdir /.host
mount -o remount,ro,mode=0755,size=1m,nosuid,nodev none /
if [ -n "$borrowed" ]; then umount -l "$borrowed"; fi
exec env -i "$@"
