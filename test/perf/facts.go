package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"runtime"
	"strings"

	containerd "github.com/containerd/containerd/v2/client"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/kubernetes"

	"miniplane.dev/miniplane/test/perf/procs"
)

// noKind tells whether the cluster does not know a kind at all, as one without miniplane does not.
func noKind(err error) bool { return meta.IsNoMatchError(err) }

// facts notes what is measured on.
func (b *bench) facts(ctx context.Context) error {
	clients, err := kubernetes.NewForConfig(b.config)
	if err != nil {
		return err
	}
	version, err := clients.Discovery().ServerVersion()
	if err != nil {
		return err
	}
	runtimeClient, err := containerd.New(b.socket())
	if err != nil {
		return fmt.Errorf("containerd of %s: %w", b.node, err)
	}
	defer func() { _ = runtimeClient.Close() }()
	runtimeVersion, err := runtimeClient.Version(ctx)
	if err != nil {
		return fmt.Errorf("containerd of %s: %w", b.node, err)
	}
	var system unix.Utsname
	var memory unix.Sysinfo_t
	if err := unix.Uname(&system); err != nil {
		return err
	}
	if err := unix.Sysinfo(&memory); err != nil {
		return err
	}
	b.result.Machine = map[string]string{
		"cores":      fmt.Sprint(runtime.NumCPU()),
		"memory":     fmt.Sprintf("%.0f GB", float64(memory.Totalram)*float64(memory.Unit)/1e9),
		"kernel":     unix.ByteSliceToString(system.Release[:]),
		"kubernetes": version.GitVersion,
		"containerd": runtimeVersion.Version,
		"image":      b.image,
		"sizes": fmt.Sprintf("%d one at a time, bursts of %d, %d kills, %d Pods on %d nodes without machines",
			b.singles, b.burst, b.kills, b.hollowPods, b.hollowNodes),
		"miniplane": revision(ctx),
	}
	return b.noteBusy(ctx)
}

// noteBusy notes how busy the machine is before anything is measured: figures of a machine that others use are not worth much.
func (b *bench) noteBusy(ctx context.Context) error {
	share, err := b.busyShare(ctx)
	if err != nil {
		return err
	}
	percent := 100 * share
	b.result.Machine["busy before"] = fmt.Sprintf("%.0f %%", percent)
	const much = 25
	if percent > much {
		say("this machine is %.0f %% busy before anything is measured: the figures will tell more about that than about either side", percent)
	}
	return nil
}

// revision of this clone; with a + when there are changes that are not committed.
func revision(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty=+").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// kubeletSettings are those that hold a kubelet back.
var kubeletSettings = []string{
	"kubeAPIQPS", "kubeAPIBurst", "eventRecordQPS", "eventBurst", "registryPullQPS", "serializeImagePulls", "maxParallelImagePulls", "maxPods",
}

// noteSettings notes what Kubernetes' own parts run with, as they say themselves.
func (b *bench) noteSettings(ctx context.Context) error {
	clients, err := kubernetes.NewForConfig(b.config)
	if err != nil {
		return err
	}
	var data []byte
	err = b.eventually(ctx, readyLimit, "the kubelet's configuration", func() (bool, error) {
		data, err = clients.CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes", b.node, "proxy/configz").DoRaw(ctx)
		return err == nil, nil
	})
	if err != nil {
		return err
	}
	var answer struct {
		Kubelet map[string]any `json:"kubeletconfig"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return fmt.Errorf("the kubelet's configuration: %w", err)
	}
	var settings []string
	for _, name := range kubeletSettings {
		if value, ok := answer.Kubelet[name]; ok {
			settings = append(settings, fmt.Sprintf("%s=%v", name, value))
		}
	}
	table, err := b.procs.Read()
	if err != nil {
		return err
	}
	if b.result.Settings == nil {
		b.result.Settings = map[string][]string{}
	}
	b.result.Settings[b.limits] = []string{"kubelet " + strings.Join(settings, " "),
		limitFlags(table, procs.Scheduler, "50, 100"), limitFlags(table, procs.KCM, "20, 30")}
	return nil
}

var limitFlag = regexp.MustCompile(`^--kube-api-(qps|burst)=`)

// limitFlags tells the flags of a program that limit it, or the defaults (of Kubernetes 1.37) that hold without.
func limitFlags(t procs.Table, program, defaults string) string {
	var found []string
	for _, p := range t.Of(program) {
		for _, arg := range p.Args {
			if limitFlag.MatchString(arg) {
				found = append(found, arg)
			}
		}
	}
	if found == nil {
		return program + " without flags for limits (qps, burst: " + defaults + ")"
	}
	return program + " " + strings.Join(found, " ")
}
