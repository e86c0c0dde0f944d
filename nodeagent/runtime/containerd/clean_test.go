package containerd_test

import (
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/google/go-cmp/cmp"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/test/containerdenv"
)

// inherited are what a program has from those who started it, printed by programs that change nothing of it themselves. A
// shell would: it catches signals.
var inherited = [][]string{
	{"busybox", "cat", "/proc/self/status", "/proc/self/limits", "/proc/self/oom_score_adj", "/proc/self/timerslack_ns",
		"/proc/self/personality", "/proc/self/coredump_filter", "/proc/self/loginuid", "/proc/self/sessionid", "/proc/self/setgroups",
		"/proc/self/sched"},
	{"busybox", "ls", "-l", "/proc/self/fd/"},
	{"busybox", "env"},
	{"busybox", "pwd"},
	{"busybox", "ionice"},
	{"busybox", "ps", "-o", "pid,ppid,pgid,tty,vsz,args"},
}

// volatile are figures that no two processes have in common, and the ignored signals: runc passes on those that it inherits, whoever started
// the test; that ours are none is TestBeginsClean's.
var volatile = regexp.MustCompile(`(?m)^(Pid|SigQ|SigIgn|Tgid|NSpid|NStgid|NSpgid|NSsid|PPid|Vm\w+|Rss\w+|HugetlbPages|voluntary_ctxt_switches|` +
	`nonvoluntary_ctxt_switches|Cpus_allowed\w*|Mems_allowed\w*|x86_Thread\w*|cat .*|se\..*|sum_exec\w*|nr_\w+|avg_\w+|` +
	`current_node.*|numa_\w+|mm->\w+|clock-delta|dl\.\w+|total_numa_faults)\b.*\n`)

// printed is what a container of one of those programs printed.
func printed(t *testing.T, n *node, id string, command []string, user uint32) string {
	t.Helper()
	spec := n.start(t, n.runtime(t), id, "", func(s *runtime.ContainerSpec) {
		s.Command, s.Security.User = append([]string{"/bin/busybox"}, command[1:]...), &user
	})
	awaits(t, n.runtime(t), id, runtime.StateExited)
	var out strings.Builder
	for line := range strings.Lines(output(t, spec, "")) {
		// The two streams have no order between them: what it complains of does not count.
		if fields := strings.SplitN(line, " ", 4); len(fields) == 4 && fields[1] == "stdout" {
			out.WriteString(fields[3])
		}
	}
	return out.String()
}

var (
	pipes = regexp.MustCompile(`(pipe|socket|anon_inode):\[\d+\]`)
	dates = regexp.MustCompile(`\w{3} +\d+ \d\d:\d\d`)
	procs = regexp.MustCompile(`/proc/\d+/`)
)

func normal(text string) string {
	text = volatile.ReplaceAllString(text, "")
	text = pipes.ReplaceAllString(text, "$1:[n]")
	return procs.ReplaceAllString(dates.ReplaceAllString(text, "DATE"), "/proc/N/")
}

// TestBeginsAsWithRunc: what a program inherits does not tell who started it.
func TestBeginsAsWithRunc(t *testing.T) {
	n := newNode(t)
	plain := *n
	plain.opts.Shim = ""
	for i, command := range inherited {
		for _, user := range []uint32{0, 1000} {
			id := string(rune('a'+i)) + map[uint32]string{0: "root", 1000: "user"}[user]
			want, got := normal(printed(t, &plain, "runc-"+id, command, user)), normal(printed(t, n, "ours-"+id, command, user))
			if diff := cmp.Diff(want, got); diff != "" || want == "" {
				t.Errorf("%v as user %d (-runc +ours):\n%s", command, user, diff)
			}
		}
	}
}

// TestBeginsClean: nothing that containerd was started with, or that a server has for itself, is ignored or blocked in a
// container, neither by its first program nor by one that is executed in it later.
func TestBeginsClean(t *testing.T) {
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGPIPE) // containerd inherits it, as from nohup
	defer signal.Reset(syscall.SIGHUP, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGPIPE)
	n := newNode(t)
	r := n.runtime(t)
	status := printed(t, n, "first", []string{"busybox", "cat", "/proc/self/status"}, 0)
	n.start(t, r, "runs", "while :; do sleep 1; done")
	c := n.Client(t)
	defer c.Close()
	ctx := namespaces.WithNamespace(t.Context(), containerdenv.Namespace)
	container, err := c.LoadContainer(ctx, "runs")
	must(t, err)
	task, err := container.Task(ctx, nil)
	must(t, err)
	spec, err := container.Spec(ctx)
	must(t, err)
	executed, _ := executeProgram(ctx, t, task, spec.Process, "later", false, "", []string{"/bin/busybox", "cat", "/proc/self/status"})
	for who, text := range map[string]string{"the first program": status, "an executed one": executed} {
		for _, want := range []string{"SigBlk:\t0000000000000000\n", "SigIgn:\t0000000000000000\n", "SigPnd:\t0000000000000000\n",
			"SigCgt:\t0000000000000000\n", "Umask:\t0022\n"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q:\n%s", who, want, text)
			}
		}
	}
}
