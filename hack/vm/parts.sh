# parts.sh — which tests make up each part that runs in a machine. To be sourced.

# What `make test-vm` runs, and what of it is the short part.
all_parts="cgroup sandbox network runtime agent node e2e clock"
short_parts="cgroup sandbox conformance"

# part_packages PART: its packages, one a line.
part_packages() {
  case $1 in
    cgroup) echo nodeagent/runtime/cgroup ;;
    conformance) echo nodeagent/runtime/containerd ;;
    sandbox) echo nodeagent/sandbox ;;
    network) printf '%s\n' nodeagent/conntrack nodeagent/iptables nodeagent/network nodeagent/proxy ;;
    runtime) printf '%s\n' nodeagent/runtime/containerd nodeagent/runtime/containerd/shim nodeagent/runtime/containerd/shim/guard ;;
    agent) printf '%s\n' nodeagent nodeagent/podworker ;;
    node) echo test/node ;;
    e2e) echo test/e2e ;;
    clock) ;; # no tests, but a fault of the campaign: test/faults
    *) echo "vm: there is no part $1; there are: $all_parts conformance" >&2; return 2 ;;
  esac
}

# part_flags PART: what its tests are started with.
part_flags() {
  case $1 in
    # What the runtime promises and what of it is the kernel's, with both shims; the rest of the package takes an hour where machines are emulated.
    conformance) echo "-test.run=^Test(Conformance|OwnCgroupOnly|OOM|OOMOfAll|TaskVerbs|Limits|ViewOfCgroups|Exec)$" ;;
  esac
}

# part_binary PACKAGE: the name of its test binary.
part_binary() { echo "${1//\//_}.test"; }
