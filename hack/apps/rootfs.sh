#!/usr/bin/env bash
# rootfs.sh — make the one layer of the images of real applications (nginx, Redis, PostgreSQL, Tomcat) that the samples run, once per version of
# this recipe, and print its path. All of it is Debian's packages, from Debian's mirror: APPS_MIRROR names another one. Needs root and mmdebstrap.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${MINIPLANE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/miniplane}
suite=bookworm
mirror=${APPS_MIRROR:-http://deb.debian.org/debian}
packages=(nginx-light redis-server postgresql-15 tomcat10 openjdk-17-jre-headless)

layer=$cache/apps-$suite-$({ echo "$mirror"; cat "$here/rootfs.sh" "$here/postgres"; } | sha256sum | cut -c1-12).tar.gz
if [ -e "$layer" ]; then echo "$layer"; exit; fi
say() { echo "apps: $*" >&2; }
[ "$(id -u)" = 0 ] || { say "making the layer needs root"; exit 1; }
command -v mmdebstrap >/dev/null || { say "mmdebstrap is missing. Get it with: hack/prereqs.sh --install apps"; exit 1; }
mkdir -p "$cache"
exec 9>"$cache/.apps-lock"
flock 9
if [ -e "$layer" ]; then echo "$layer"; exit; fi

say "making a layer of Debian $suite with ${packages[*]} (once; kept in $layer)"
tmp=$(mktemp -d -p "$cache" .apps.XXXXXX)
trap 'rm -rf --one-file-system "$tmp"' EXIT
chmod 755 "$tmp"
start=$SECONDS
# What mmdebstrap mounts is in a namespace of its own, and gone with it however it ends. A database is made at the first start, not here.
# Java's packages link manual pages, and want the directories of those that are left out.
# shellcheck disable=SC2016 # $1 is the hooks'
unshare --mount --propagation=private mmdebstrap --verbose --mode=root --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" \
  --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Retries "5"' --dpkgopt=force-unsafe-io --dpkgopt=force-confold \
  --dpkgopt=path-exclude='/usr/share/doc/*' --dpkgopt=path-exclude='/usr/share/man/*/*' --dpkgopt=path-exclude='/usr/share/locale/*' \
  --essential-hook='mkdir -p "$1/etc/postgresql-common" && echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.conf"' \
  --customize-hook='install -m 755 '"$here/postgres"' "$1/usr/local/bin/postgres-first"' \
  --customize-hook='chroot "$1" install -d -m 777 -o postgres /var/lib/postgresql/data && chroot "$1" chmod -R a+rX /etc/tomcat10' \
  "$suite" "$tmp/root" "$mirror" >"$tmp/log" 2>&1 ||
  { tail -n 20 "$tmp/log" >&2; say "no layer could be made from $mirror. Is that mirror to be reached? Name another one with APPS_MIRROR=http://…"; exit 1; }
rm -rf "$tmp"/root/{dev,proc,sys,run,boot}/* "$tmp"/root/var/{cache/apt,lib/apt/lists}/*
tar -C "$tmp/root" --numeric-owner --sort=name -c . | gzip -1n >"$tmp/layer.tar.gz"
mv "$tmp/layer.tar.gz" "$layer" # into place only when whole
say "made it in $((SECONDS - start)) s: $(du -h "$layer" | cut -f1)"
echo "$layer"
