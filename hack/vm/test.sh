#!/usr/bin/env bash
# test.sh [PART ...] — run parts of the tests (all, if none is named) in a fresh virtual machine, and say at the end what passed.
# The exit code is 0 only if all did. The whole output of a part is in .local/vm/logs/PART.log.
#
# SHORT=1: the short parts. RUN=REGEXP: only tests of that name. KEEP=1: leave the machine up, to look around in it.
# FROM=COMMIT: an earlier version, for the tests of upgrades (TestUpgradeFromFormer of node).
# VM_PART_TIMEOUT=5400: seconds that one part may take; with SHORT=1, VM_SHORT_TIMEOUT=1500: seconds for all. See also vm.sh and image.sh.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
. "$here/parts.sh"
parts=("$@")
if [ ${#parts[@]} = 0 ]; then
  if [ -n "${SHORT:-}" ]; then read -r -a parts <<<"$short_parts"; else read -r -a parts <<<"$all_parts"; fi
fi
for part in "${parts[@]}"; do part_packages "$part" >/dev/null; done
cd "$root"
whole=${SHORT:+${VM_SHORT_TIMEOUT:-1500}}
# left is how long the next part may take.
left() {
  local most=${VM_PART_TIMEOUT:-5400} rest=$((${whole:-999999} - SECONDS))
  echo $((rest < 1 ? 1 : rest < most ? rest : most))
}
mkdir -p .local/vm/logs

"$here/vm.sh" down # of an earlier run, with the disk of an earlier build
[ -n "${KEEP:-}" ] || trap '"$here/vm.sh" down; rm -f .local/vm/payload.ext4' EXIT
"$here/payload.sh" "${parts[@]}"
"$here/vm.sh" up 1

flags=()
[ -z "${RUN:-}" ] || flags+=("-test.run=$RUN")
table=() failed=0
for part in "${parts[@]}"; do
  start=$SECONDS log=.local/vm/logs/$part.log status=0 most=$(left)
  timeout "$most" "$here/vm.sh" exec vm-0 "SHORT=${SHORT:-} NODES=${NODES:-} $root/hack/vm/guest/run.sh" "$part" "${flags[@]@Q}" >"$log" 2>&1 || status=$?
  passed=$(grep -c '^--- PASS' "$log" || true) bad=$(grep -c '^--- FAIL' "$log" || true) skipped=$(grep -c '^--- SKIP' "$log" || true)
  word=ok
  if [ "$status" != 0 ]; then
    failed=1 word="FAILED ($status)"
    [ "$status" != 124 ] || echo "vm: $part did not end within $most s (VM_PART_TIMEOUT${whole:+, or VM_SHORT_TIMEOUT=$whole for all})." \
      "An emulated machine is slow, and slower beside other work; what is below says how far it came" >&2
    grep -B 30 -e '^ *--- FAIL' -e '^panic:' -e '^FAIL' "$log" | tail -n 150 >&2 || tail -n 50 "$log" >&2
  fi
  if [ "$part" = clock ]; then "$here/vm.sh" exec vm-0 "cat '$root/.vm/clock.json'" >.local/vm/logs/clock.json || failed=1; fi
  table+=("$(printf '%-10s %-12s %4d passed %3d failed %3d skipped %5d s' "$part" "$word" "$passed" "$bad" "$skipped" $((SECONDS - start)))")
  echo "vm: ${table[-1]}" >&2
done
printf '%s\n' "" "in a machine with $("$here/vm.sh" exec vm-0 '. /etc/os-release; echo "$PRETTY_NAME, Linux $(uname -r)"'):" "${table[@]}"
exit $failed
