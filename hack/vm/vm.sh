#!/usr/bin/env bash
# vm.sh — virtual machines with cgroup v2, for tests of nodes as most people have them. See docs/virtual-machines.md.
#
#   vm.sh up [N]                start machines vm-0 … (1 if N is not given), or those of them that do not run; wait until they answer
#   vm.sh down                  end them; nothing is left but their logs, in .local/vm/logs
#   vm.sh status                what runs
#   vm.sh exec NAME COMMAND     run a command as root in a machine; its exit code is the command's
#   vm.sh push NAME FILE ...    copy files of this clone into a machine, where the machine has its copy of the clone
#
# A machine is a process of qemu, with KVM where that is, else emulated. Its disk is a cached one that it only reads; what it
# writes is gone with it. A second disk (payload.sh) has a copy of this clone with everything built, at the clone's own path.
# The machines share a link, eth1, where vm-N is 100.126.0.(10+N); from elsewhere only this machine's loopback reaches them.
#
# VM_CPUS=2 VM_MEMORY=2048 (MB) VM_NICE=10 VM_APPEND= (more of the kernel's command line)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
state=$root/.local/vm
timeout=${VM_TIMEOUT:-600} # seconds until a machine answers; emulation on a busy machine is slow
say() { echo "vm: $*" >&2; }
fail() { say "$*"; exit 1; }

# pid of a machine that runs. A number alone proves nothing: another process may have it now.
pid() {
  local file=$state/$1/pid n
  n=$(cat "$file" 2>/dev/null) && tr '\0' ' ' <"/proc/$n/cmdline" 2>/dev/null | grep -qF -- "-pidfile $file " && echo "$n"
}

machines() { for dir in "$state"/vm-*/; do [ -d "$dir" ] && basename "$dir"; done; return 0; }

# into NAME SSH-ARGUMENTS...: the way into a machine.
into() {
  local name=$1; shift
  [ -e "$state/$name/port" ] || fail "there is no machine $name: hack/vm/vm.sh up"
  ssh -o BatchMode=yes -o ConnectTimeout=60 -o ServerAliveInterval=30 -o ServerAliveCountMax=20 -o LogLevel=ERROR -o StrictHostKeyChecking=no \
    -o UserKnownHostsFile=/dev/null -i "$(cat "$state/$name/image")/key" -p "$(cat "$state/$name/port")" root@127.0.0.1 "$@"
}

start() {
  local name=$1 index=${1#vm-} dir=$state/$1 image payload=$state/payload.ext4 port try
  image=$("$here/image.sh")
  rm -rf "$dir"
  mkdir -p "$dir" "$state/logs"
  echo "$image" >"$dir/image"
  # What emulation is slow at: a clock that is a device (Linux mistrusts the processor's counter, which emulated processors share), page tables
  # of five levels, and what guards one process from another.
  local args=(
    -name "$name" -machine q35,accel=kvm:tcg -cpu max,la57=off -smp "${VM_CPUS:-2}" -m "${VM_MEMORY:-2048}"
    -nodefaults -no-user-config -display none -no-reboot -kernel "$image/vmlinuz"
    -append "console=ttyS0 root=/dev/nvme0n1 rw net.ifnames=0 mitigations=off tsc=reliable panic=-1 miniplane.vm=1 systemd.hostname=$name systemd.show_status=0 \
ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:off ip=100.126.0.$((10 + index))::0.0.0.0:255.255.255.0::eth1:off ${VM_APPEND:-}"
    -drive "file=$image/root.ext4,format=raw,if=none,id=root,snapshot=on,file.locking=off" -device nvme,drive=root,serial=root
    -device "virtio-net-pci,netdev=in,mac=52:54:00:00:00:$(printf %02x "$index")"
    -netdev "socket,id=link,mcast=239.255.77.77:$(cat "$state/link"),localaddr=127.0.0.1"
    -device "virtio-net-pci,netdev=link,mac=52:54:00:00:01:$(printf %02x "$index")"
    -device virtio-rng-pci -serial "file:$state/logs/$name.console" -daemonize -pidfile "$dir/pid")
  if [ -e "$payload" ]; then
    args+=(-drive "file=$payload,format=raw,if=none,id=payload,snapshot=on,file.locking=off" -device nvme,drive=payload,serial=payload)
  fi
  # TMPDIR is where qemu keeps what a machine writes: files without a name, that go with it.
  for try in 1 2 3 4 5; do
    port=$((20000 + RANDOM % 12000))
    TMPDIR=$dir setsid nice -n "${VM_NICE:-10}" qemu-system-x86_64 "${args[@]}" \
      -netdev "user,id=in,restrict=on,hostfwd=tcp:127.0.0.1:$port-:22" 2>"$dir/qemu.log" && break
    grep -q 'host forwarding' "$dir/qemu.log" && [ "$try" -lt 5 ] || { cat "$dir/qemu.log" >&2; fail "qemu does not start $name"; }
  done
  echo "$port" >"$dir/port"
}

# await that a machine answers, and has its copy of the clone in place.
await() {
  local name=$1 start=$SECONDS
  until into "$name" true 2>/dev/null; do
    [ -n "$(pid "$name")" ] || { tail -n 20 "$state/logs/$name.console" >&2; fail "$name ended while it started"; }
    [ $((SECONDS - start)) -lt "$timeout" ] || { tail -n 20 "$state/logs/$name.console" >&2; fail "$name does not answer after $timeout s"; }
    sleep 1
  done
  into "$name" "[ ! -e /dev/nvme1n1 ] || mountpoint -q '$root' || { mkdir -p '$root' && mount /dev/nvme1n1 '$root'; }"
}

up() {
  local count=${1:-1} began=$SECONDS name i
  command -v qemu-system-x86_64 >/dev/null && command -v ssh >/dev/null ||
    fail "qemu or ssh is missing. Get them with: hack/vm/prereqs.sh --install"
  mkdir -p "$state"
  [ -e "$state/link" ] || echo $((20000 + RANDOM % 12000)) >"$state/link"
  [ -r /dev/kvm ] && [ -w /dev/kvm ] || say "there is no /dev/kvm here: machines are emulated, and slow"
  for ((i = 0; i < count; i++)); do [ -n "$(pid "vm-$i")" ] || start "vm-$i"; done
  for ((i = 0; i < count; i++)); do await "vm-$i"; done
  name=$(into vm-0 '. /etc/os-release; echo "$PRETTY_NAME, Linux $(uname -r), $(systemctl --version | head -n 1)"')
  say "up after $((SECONDS - began)) s: $count machine(s), $name"
}

down() {
  local name n
  for name in $(machines); do
    n=$(pid "$name") || true
    if [ -n "$n" ]; then
      kill -KILL "$n"
      while [ -n "$(pid "$name")" ]; do sleep 0.1; done
    fi
    rm -rf "${state:?}/$name"
  done
  rm -f "$state/link"
}

push() {
  local name=$1; shift
  (cd "$root" && tar -cz "$@") | into "$name" "tar -xz -C '$root'"
}

case ${1:-} in
  up) up "${2:-1}" ;;
  down) down ;;
  status) for name in $(machines); do n=$(pid "$name") && echo "$name runs, process $n, ssh on port $(cat "$state/$name/port")" || echo "$name is dead"; done ;;
  exec) name=$2; shift 2; into "$name" "$@" ;;
  push) shift; push "$@" ;;
  *) sed -n '2,15p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
