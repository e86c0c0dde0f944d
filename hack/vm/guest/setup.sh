#!/usr/bin/env bash
# setup.sh ROOT KEY — turn a bare Debian in the directory ROOT into a machine that boots in seconds also under emulation, and lets
# in root with the public key in the file KEY.
set -euo pipefail
root=$1 key=$2

echo "miniplane" >"$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
: >"$root/etc/machine-id" # each machine makes its own
install -d -m 700 "$root/root/.ssh"
install -m 600 "$key" "$root/root/.ssh/authorized_keys"
ssh-keygen -q -t ed25519 -N '' -f "$root/etc/ssh/ssh_host_ed25519_key" <<<y >/dev/null
cat >"$root/etc/ssh/sshd_config.d/miniplane.conf" <<END
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
UseDNS no
UsePAM no
AcceptEnv *
END

# The network is set by the kernel's command line (systemd-network-generator reads ip=).
mkdir -p "$root/etc/modules-load.d" "$root/etc/sysctl.d" "$root/etc/systemd/journald.conf.d"
printf '%s\n' overlay br_netfilter nf_conntrack vxlan >"$root/etc/modules-load.d/miniplane.conf"
printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=32M\n' >"$root/etc/systemd/journald.conf.d/miniplane.conf"
chroot "$root" systemctl --quiet enable systemd-networkd ssh
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer e2scrub_reap.service \
  systemd-networkd-wait-online.service systemd-timesyncd.service getty@tty1.service serial-getty@ttyS0.service \
  systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-random-seed.service systemd-pcrphase.service; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
