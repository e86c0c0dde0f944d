package api

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/testenv"
)

// What says how a MiniPod is called, and whom it asks for names, is taken and refused as that of a native Pod: each manifest is given to the API
// server as both.
func TestNamesAsNative(t *testing.T) {
	_, c := testenv.Start(t)
	namespace := testenv.Namespace(t, c)
	words := func(n int, word string) string { return strings.TrimSuffix(strings.Repeat(word+",", n), ",") }
	domains := func(n, length int) string {
		var out []string
		for i := range n {
			out = append(out, fmt.Sprintf("%02d.%s.%s", i, strings.Repeat("a", 60), strings.Repeat("a", length-64)))
		}
		return strings.Join(out, ",")
	}
	for _, fields := range []string{
		"hostAliases: [{ip: 10.1.2.3, hostnames: [foo.remote, bar]}, {ip: 'fd00::1'}, {ip: 10.1.2.3, hostnames: []}]", "hostAliases: []", "hostAliases: null",
		"hostAliases: [{hostnames: [a]}]", "hostAliases: [{ip: '', hostnames: [a]}]", "hostAliases: [{ip: foo.remote}]", "hostAliases: [{ip: 10.1.2.3.4}]",
		"hostAliases: [{ip: 10.1.2.3, hostnames: [Foo]}]", "hostAliases: [{ip: 10.1.2.3, hostnames: ['a b']}]", "hostAliases: [{ip: 10.1.2.3, hostnames: ['']}]",
		"hostAliases: [{ip: 10.1.2.3, hostnames: [a_b]}]",
		"hostname: db, subdomain: dbs, setHostnameAsFQDN: true", "subdomain: ''", "subdomain: a.b", "subdomain: Dbs", "subdomain: " + strings.Repeat("a", 63),
		"subdomain: " + strings.Repeat("a", 64), "hostname: a.b", "setHostnameAsFQDN: true", "setHostnameAsFQDN: null",
		"dnsPolicy: Default", "dnsPolicy: ClusterFirst", "dnsPolicy: ClusterFirstWithHostNet", "dnsPolicy: Other", "dnsPolicy: None",
		"dnsPolicy: None, dnsConfig: {}", "dnsPolicy: None, dnsConfig: {searches: [a]}", "dnsPolicy: None, dnsConfig: {nameservers: [1.1.1.1]}",
		"dnsConfig: {nameservers: [1.1.1.1, 1.1.1.2, 'fd00::1']}", "dnsConfig: {nameservers: [1.1.1.1, 1.1.1.2, 1.1.1.3, 1.1.1.4]}", "dnsConfig: {nameservers: [dns]}",
		"dnsConfig: {nameservers: ['']}", "dnsConfig: {searches: [a, b.c, d.e., ., _tcp.a, a_b]}", "dnsConfig: {searches: ['']}", "dnsConfig: {searches: [A]}",
		"dnsConfig: {searches: ['a b']}", "dnsConfig: {searches: [-a]}", "dnsConfig: {searches: [" + words(32, "a") + "]}", "dnsConfig: {searches: [" + words(33, "a") + "]}",
		"dnsConfig: {searches: [" + domains(20, 101) + "]}", "dnsConfig: {searches: [" + domains(20, 101) + ",x2345678]}", "dnsConfig: {searches: [" + domains(20, 101) + ",x23456789]}",
		"dnsConfig: {searches: [" + strings.Repeat("a.", 126) + "b]}", "dnsConfig: {searches: [" + strings.Repeat("a.", 126) + "bc]}", "dnsConfig: {searches: [" + strings.Repeat("a.", 127) + "]}",
		"dnsConfig: {options: [{name: ndots, value: '2'}, {name: edns0}, {name: a, value: ''}]}", "dnsConfig: {options: [{value: '2'}]}", "dnsConfig: {options: [{name: ''}]}",
		"dnsConfig: null",
	} {
		mini := tryManifest(t, c, namespace, podWith(fields+",", "args: [a]"))
		native := tryNative(t, c, namespace, podWith(fields+",", "args: [a]"))
		if (mini == nil) != (native == nil) {
			t.Errorf("%.200s\nMiniPod: %v\nPod: %v", fields, mini, native)
		}
	}
}

// tryNative is tryManifest for the same object as a native Pod.
func tryNative(t *testing.T, c client.Client, namespace, manifest string) error {
	t.Helper()
	object := asNative(t, manifest)
	object.Namespace = namespace
	object.Spec.AutomountServiceAccountToken = new(false)
	return c.Create(t.Context(), object, client.DryRunAll)
}

// asNative reads a manifest of a MiniPod as that of a Pod.
func asNative(t *testing.T, manifest string) *corev1.Pod {
	t.Helper()
	object := asMiniPod(t, "apiVersion: v1\n"+manifest, "")
	pod := &corev1.Pod{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, pod); err != nil {
		t.Fatal(err)
	}
	pod.APIVersion, pod.Kind = "v1", "Pod"
	return pod
}

// An agent that knows only the host name would do something else for these, and nothing else for those.
func TestLevelOfNames(t *testing.T) {
	_, c := testenv.Start(t)
	namespace := testenv.Namespace(t, c)
	for fields, want := range map[string]int32{
		"hostname: db": 0, "dnsPolicy: Default": 0, "dnsPolicy: ClusterFirst": 0, "setHostnameAsFQDN: false": 0, "hostAliases: []": 0,
		"hostAliases: [{ip: 10.1.2.3}]": miniv1.SpecLevelNames, "subdomain: a": miniv1.SpecLevelNames, "setHostnameAsFQDN: true": miniv1.SpecLevelNames,
		"dnsConfig: {nameservers: [1.1.1.1]}": miniv1.SpecLevelNames, "dnsPolicy: None, dnsConfig: {nameservers: [1.1.1.1]}": miniv1.SpecLevelNames,
		"dnsPolicy: ClusterFirstWithHostNet": miniv1.SpecLevelNames,
	} {
		made := admit(t, c, "apiVersion: v1\n"+podWith(fields+",", "args: [a]"), namespace)
		if made.err != nil || made.pod.Spec.Level() != want {
			t.Errorf("%s: %+v, want level %d", fields, made, want)
		}
	}
}

// Names stay as they are while a MiniPod exists, as a native Pod's do.
func TestNamesStay(t *testing.T) {
	_, c := testenv.Start(t)
	pod := asMiniPod(t, "apiVersion: v1\n"+podWith("subdomain: a, hostAliases: [{ip: 10.1.2.3}], dnsConfig: {searches: [a]},", "args: [a]"), testenv.Namespace(t, c))
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	for _, change := range []string{`{"subdomain":"b"}`, `{"hostAliases":null}`, `{"dnsConfig":{"searches":["b"]}}`, `{"dnsPolicy":"Default"}`, `{"setHostnameAsFQDN":true}`} {
		err := c.Patch(t.Context(), pod.DeepCopy(), client.RawPatch(mergePatch, []byte(`{"spec":`+change+`}`)), client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), "cannot be changed") {
			t.Errorf("%s: %v", change, err)
		}
	}
}
