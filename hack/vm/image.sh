#!/usr/bin/env bash
# image.sh — make the disk and the kernel of a virtual machine, once per version of this recipe, and print the directory that
# holds them: vmlinuz, root.ext4, the key that lets one in, and a list of what is inside (packages).
#
# A machine is Debian with systemd: a plain cgroup v2 node as most people have. The packages come from Debian's mirror; what must
# be the same everywhere is said here, and what was got is in the list. VM_SUITE=trixie makes a machine of another release, with
# its kernel. VM_MIRROR names another mirror, or a moment of snapshot.debian.org. Needs root, mmdebstrap, mke2fs, ssh-keygen.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${MINIPLANE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/miniplane}
suite=${VM_SUITE:-bookworm}
mirror=${VM_MIRROR:-http://deb.debian.org/debian}
size=8G # of the disk; it is sparse

packages=(systemd systemd-sysv udev dbus kmod openssh-server iproute2 iptables nftables conntrack procps psmisc util-linux curl
  busybox-static libseccomp2 ca-certificates)

image=$cache/vm-$suite-$({ echo "$mirror"; cat "$here/image.sh" "$here/guest/setup.sh"; } | sha256sum | cut -c1-12)
if [ -e "$image/root.ext4" ]; then echo "$image"; exit; fi
say() { echo "vm: $*" >&2; }
[ "$(id -u)" = 0 ] || { say "making a machine's disk needs root"; exit 1; }
mkdir -p "$cache"
exec 9>"$cache/.vm-lock"
flock 9
if [ -e "$image/root.ext4" ]; then echo "$image"; exit; fi

say "making a disk with Debian $suite (once; kept in $image)"
tmp=$(mktemp -d -p "$cache" .vm.XXXXXX)
trap 'rm -rf --one-file-system "$tmp"' EXIT
start=$SECONDS root=$tmp/root out=$tmp/out
mkdir "$out" "$tmp/kernel"
chmod 755 "$tmp"

# The kernel is unpacked, not installed: what installing it makes, an initial ramdisk, is not used. The cloud kernel has the disk's
# driver and file system built in.
# What mmdebstrap mounts is in a namespace of its own, and gone with it however it ends.
# shellcheck disable=SC2016 # MMDEBSTRAP_APT_CONFIG is for the hook's shell
unshare --mount --propagation=private mmdebstrap --quiet --mode=root --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" \
  --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Retries "5"' --dpkgopt=force-unsafe-io \
  --dpkgopt=path-exclude='/usr/share/doc/*' --dpkgopt=path-exclude='/usr/share/man/*' --dpkgopt=path-exclude='/usr/share/locale/*' \
  --customize-hook='export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG; cd '"$tmp/kernel"' &&
    apt-get -qq download "$(apt-cache depends linux-image-cloud-amd64 | sed -n "s/^ *Depends: *//p")"' \
  "$suite" "$root" "$mirror" >&2 ||
  { say "no disk of Debian $suite could be made from $mirror. Is that mirror to be reached? Name another one with VM_MIRROR=http://…"; exit 1; }
dpkg-deb -x "$tmp"/kernel/*.deb "$tmp/kernel/files"
mkdir -p "$root/usr/lib/modules"
cp -a "$tmp"/kernel/files/lib/modules/* "$root/usr/lib/modules/" 2>/dev/null || cp -a "$tmp"/kernel/files/usr/lib/modules/* "$root/usr/lib/modules/"
cp "$tmp"/kernel/files/boot/vmlinuz-* "$out/vmlinuz"
chroot "$root" depmod "$(ls "$root/usr/lib/modules")"

ssh-keygen -q -t ed25519 -N '' -C miniplane-vm -f "$out/key"
"$here/guest/setup.sh" "$root" "$out/key.pub"
{ basename "$tmp"/kernel/*.deb; chroot "$root" dpkg-query -W; } >"$out/packages"
truncate -s "$size" "$out/root.ext4"
mke2fs -qF -t ext4 -E lazy_itable_init=1,lazy_journal_init=1 -m 0 -d "$root" "$out/root.ext4" >&2
rm -rf "$image"
mv "$out" "$image" # into place only when whole
say "made it in $((SECONDS - start)) s: $(head -n 1 "$image/packages")"
echo "$image"
