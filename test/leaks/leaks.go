// Package leaks finds what MiniPods leave behind: on a node and in the API server. It is the one place that knows what there is to
// leave, and every test of "nothing is left" asks it.
//
// The idea: everything that MiniPods have is listed, one line for each thing, with a name that says whose it is and that stays the
// same while the thing does. What is in a later list and not in an earlier one, with the same MiniPods there, was left behind. Lists
// are never counted: one thing that is lost and one that is left would look like none.
//
// What makes it hard: a node may be a network namespace of this machine or a container that only a command can be run in, so
// the list is made by a shell script that needs no more than a node has. Names must not have numbers of processes in them, which change
// when a server is started again. And a program that does not answer must be an error, not an empty list.
package leaks

import (
	"fmt"
	"slices"
	"strings"
)

// Places is where a node has what belongs to MiniPods.
type Places struct {
	// Cgroup is the parent of MiniPods' cgroups, as in /miniplane.
	Cgroup string
	// StateDir and RootDir are the agent's directories.
	StateDir, RootDir string
	// Containerd is the path of its socket, Tasks its directory of running tasks' bundles.
	Containerd, Tasks string
}

// Installed are the places of an agent that was installed as on any node.
func Installed() Places {
	return Places{Cgroup: "/miniplane", StateDir: "/run/miniplane", RootDir: "/var/lib/miniplane",
		Containerd: "/run/containerd/containerd.sock", Tasks: "/run/containerd/io.containerd.runtime.v2.task"}
}

// Local are those of a node of the local cluster, and Full those of one of a full cluster, which hack/cluster runs: the machine's
// containerd is at its usual place there, and what it keeps is not.
func Local(node string) Places {
	run, data := "/run/miniplane-local/"+node, "/var/lib/miniplane-local/"+node
	return Places{Cgroup: "/miniplane-local/" + node, StateDir: run + "/agent", RootDir: data + "/agent",
		Containerd: run + "/containerd.sock", Tasks: run + "/containerd/io.containerd.runtime.v2.task"}
}

// Full are the places on a node of a full cluster.
func Full(node string) Places {
	p := Installed()
	p.Tasks = Local(node).Tasks
	return p
}

// Script is for the node's shell, in its network namespace. It prints a line for each thing, and fails when it could not look.
func (p Places) Script() string {
	return fmt.Sprintf(script, p.Cgroup, p.StateDir, p.RootDir, p.Containerd, p.Tasks)
}

// The cgroup that pauses share, and the link to where containerd has its bundles, come with a node's first MiniPod and stay: what is in them
// counts, and they do not. Of directories only those count that are named by a UID, for the others stay, too.
//
// Images that are mounted are leases that a MiniPod's UID is in the name of, and what looks into an image is a snapshot to view. What a pull that was
// cut off has written so far is an ingest. A mount that is there twice is another thing than one, and so is a rule in another table. A network
// namespace that nothing is in and nothing pins lives on while the agent has it open.
//
// A process is named by its cgroup, its network namespace and its command, so that pauses, which share a cgroup, are told apart. Shims of
// runc's and programs that write logs are in the cgroup of whoever started them, and are known by the agent's directory in their
// command. The servers of miniplane's shim belong to no MiniPod, come and go as they are needed, and are left out with their sockets,
// locks, logs and programs; what has ended below them, or below an agent, and nobody asked how, is a zombie. Names of files are
// enough: what is in them changes. Tasks are told by their bundles: containerd's list leaves out those whose shim is slow to answer.
const script = `
set -u
cgroup='%[1]s' state='%[2]s' root='%[3]s' socket='%[4]s' tasks='%[5]s'
ctr="ctr --address $socket --namespace miniplane"
export CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=true
containers=$($ctr containers ls -q) || exit 1
snapshots=$($ctr snapshots ls) || exit 1
leases=$($ctr leases ls -q) || exit 1
ingests=$($ctr content active) || exit 1
links=$(ip -o link) || exit 1
routes=$(ip route show table all) || exit 1
rules=$(iptables-save) || exit 1
say() { sed -e '/^$/d' -e "s|^|$1 |"; }
echo "$containers" | say container
echo "$snapshots" | awk 'NR>1 && ($3=="Active" || $3=="View") {print $1}' | say snapshot
echo "$leases" | say lease
echo "$ingests" | awk 'NR>1 {print $1}' | say ingest
echo "$links" | awk '{print $2}' | sed 's/[@:].*//' | grep '^mini' | grep -v vxlan | say link
echo "$routes" | grep 'dev mini' | say route
echo "$rules" | grep -o '^:MINI-[A-Z]*-[A-Z0-9]*' | sed 's/^://' | say chain
echo "$rules" | awk '/^[*]/ {table = substr($1, 2)} /^-A MINI-/ {print table, $0}' | say rule
awk -v a="$state/" -v b="$root/" -v c="$tasks/miniplane/" 'index($5, a)==1 || index($5, b)==1 || index($5, c)==1 {print $5}' /proc/self/mountinfo |
	sort | uniq -c | awk '{n = $1; sub(/^ *[0-9]+ /, ""); print $0 (n > 1 ? " times " n : "")}' | say mount
for pid in $(grep -lx nodeagent /proc/[0-9]*/comm 2>/dev/null | cut -d/ -f3); do
	find /proc/$pid/fd '(' -lname 'net:*' -o -lname 'mnt:*' -o -lname 'ipc:*' -o -lname 'uts:*' -o -lname 'pid:*' ')' -printf '%%l\n' 2>/dev/null
done | sort -u | say namespace
ls "$tasks/miniplane" 2>/dev/null | say bundle
for dir in "$state" "$root"; do find "$dir" -xdev ! -type d 2>/dev/null; done |
	grep -vE '/shim-[0-9a-f]+/([0-9]+(|\.lock|\.log)|seal\.lock|bundles|[0-9]+/containerd-shim-[a-z0-9-]+)$' | say file
find "$state/volumes" "$root/volumes" -mindepth 1 -maxdepth 1 2>/dev/null | say volume
find "$state" "$root" -xdev -type d -name '*????????-????-????-????-????????????*' ! -path '*/volumes/*' 2>/dev/null | say directory
find /sys/fs/cgroup/*"$cgroup" /sys/fs/cgroup"$cgroup" -mindepth 1 -type d 2>/dev/null | grep -v "$cgroup/pause$" | sed 's|^/sys/fs/cgroup/||' | say cgroup
hierarchy=/sys/fs/cgroup
[ -e $hierarchy/cgroup.controllers ] || hierarchy=$hierarchy/pids
members=$(find "$hierarchy$cgroup" -name cgroup.procs -exec grep -H . {} + 2>/dev/null | sed -e "s|^$hierarchy||" -e 's|/cgroup.procs:| |')
outside=$(grep -laF "$state/" /proc/[0-9]*/cmdline 2>/dev/null | sed -e 's|^/proc/||' -e 's|/cmdline$||')
pids=$({ echo "$members" | awk '{print $2}'; echo "$outside"; } | sort -u)
{
  echo "$members" | sed 's|^|in |'
  echo "$outside" | sed -e '/^$/d' -e 's|^|of |'
  find $(echo "$pids" | sed -e '/^$/d' -e 's|.*|/proc/&/ns/net|') /nowhere -maxdepth 0 -printf 'net %%p %%l\n' 2>/dev/null
  head -v -c 300 $(echo "$pids" | sed -e '/^$/d' -e 's|.*|/proc/&/cmdline|') /nowhere 2>/dev/null | tr '\0' ' '
} | awk -v state="$state" '
  function pid(path) { split(path, parts, "/"); return parts[3] }
  wants != "" { command[wants] = $0; wants = ""; next }
  $1 == "==>" { wants = pid($2); next }
  $1 == "net" { net[pid($2)] = $3; next }
  $1 == "in" { group[$3] = $2 }
  $1 == "of" { outside[$2] = 1; next }
  END {
    for (p in group) if (command[p] != "") print group[p], net[p], command[p]
    for (p in outside) if (!(p in group) && command[p] !~ /^[^ ]*(grep|nodeagent) |-shim-.* serve *$/ && index(command[p], state "/")) print "-", command[p]
  }' | sort -u | say process
for status in $(grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null); do
	parent=/proc/$(awk '/^PPid:/ {print $2}' "$status" 2>/dev/null)
	{ grep -qaF "$state/" "$parent/cmdline" || grep -qx nodeagent "$parent/comm"; } 2>/dev/null || continue
	echo "$(awk '/^Name:/ {print $2}' "$status" 2>/dev/null) of $(cat "$parent/comm" 2>/dev/null)"
done | sort | uniq -c | awk '{n = $1; sub(/^ *[0-9]+ /, ""); print $0 (n > 1 ? " times " n : "")}' | say zombie
exit 0
`

// Parse reads what the script printed.
func Parse(out string) []string {
	lines := strings.Split(out, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	lines = slices.DeleteFunc(lines, func(l string) bool { return l == "" })
	slices.Sort(lines)
	return slices.Compact(lines)
}

// Left is what is in after and not in before, which both are sorted as Parse returns them.
func Left(before, after []string) []string {
	var left []string
	for _, thing := range after {
		if _, was := slices.BinarySearch(before, thing); !was {
			left = append(left, thing)
		}
	}
	return left
}

// Kind of a thing: link, cgroup, container …
func Kind(thing string) string {
	kind, _, _ := strings.Cut(thing, " ")
	return kind
}
