package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// imagePod is a MiniPod of one image, with a few lines more of its spec.
func imagePod(name, image, policy, more string) string {
	return fmt.Sprintf(`
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: main, image: "%s", imagePullPolicy: %s}
%s
---`, name, image, policy, more)
}

// waitSummary waits until kubectl get shows one of these under STATUS.
func waitSummary(t *testing.T, ns, name string, want ...string) {
	t.Helper()
	eventually(t, patience, ns, &miniv1.MiniPodList{}, fmt.Sprintf("%s to show %v", name, want), func() (bool, string) {
		pod := &miniv1.MiniPod{}
		if err := api.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, pod); err != nil {
			return false, err.Error()
		}
		return slices.Contains(want, pod.Status.Summary), pod.Status.Summary
	})
}

// Images are pulled by the policies' native meanings, from a registry with and without a password.
func TestImagePulls(t *testing.T) {
	ns := namespace(t)
	host, user, password := cluster.registry()
	kubectl(t, ns, "create", "secret", "docker-registry", "pull", "--docker-server="+host, "--docker-username="+user, "--docker-password="+password)
	private := host + "/private/echo:v1"
	apply(t, ns, imagePod("open", host+"/open/echo:v1", "Always", "")+
		imagePod("secret", private, "Always", "  imagePullSecrets: [{name: pull}]")+
		imagePod("stranger", private, "Always", "")+
		imagePod("never", "miniplane.dev/nowhere:v1", "Never", "")+
		imagePod("misspelt", "miniplane.dev/Not An Image", "IfNotPresent", ""))
	waitSummary(t, ns, "open", "Running")
	waitSummary(t, ns, "secret", "Running")
	waitSummary(t, ns, "stranger", miniv1.ReasonErrImagePull, miniv1.ReasonImagePullBackOff)
	eventually(t, patience, ns, &eventsv1.EventList{}, "an Event about the failed pull", func() (bool, string) {
		out := kubectl(t, ns, "describe", "minipod", "stranger")
		return strings.Contains(out, "Warning") && strings.Contains(out, miniv1.ReasonErrImagePull), out
	})
	waitSummary(t, ns, "never", miniv1.ReasonErrImageNeverPull)
	waitSummary(t, ns, "misspelt", miniv1.ReasonInvalidImageName)
}

// A MiniPod that names no pull secrets has those of its ServiceAccount, "default" or the one that it names; volumes of images are pulled with them too.
func TestPullSecretsOfServiceAccounts(t *testing.T) {
	ns := namespace(t)
	host, user, password := cluster.registry()
	kubectl(t, ns, "create", "secret", "docker-registry", "pull", "--docker-server="+host, "--docker-username="+user, "--docker-password="+password)
	kubectl(t, ns, "create", "secret", "docker-registry", "wrong", "--docker-server="+host, "--docker-username="+user, "--docker-password=guess")
	private := host + "/private/echo:v1"
	apply(t, ns, `
apiVersion: v1
kind: ServiceAccount
metadata: {name: robot}
imagePullSecrets: [{name: pull}]
---`+imagePod("robots", private, "Always", "  serviceAccountName: robot\n  automountServiceAccountToken: false")+
		imagePod("before", private, "Always", ""))
	waitSummary(t, ns, "robots", "Running")
	waitSummary(t, ns, "before", miniv1.ReasonErrImagePull, miniv1.ReasonImagePullBackOff)
	kubectl(t, ns, "wait", "--for=create", "serviceaccount/default", "--timeout=60s")
	kubectl(t, ns, "patch", "serviceaccount", "default", "-p", `{"imagePullSecrets": [{"name": "pull"}]}`)
	node := cluster.nodes(t)[0].name
	apply(t, ns, imagePod("plain", private, "Always", "")+
		imagePod("placed", private, "Always", "  nodeName: "+node)+
		imagePod("mounting", imageV1, "IfNotPresent", "  volumes: [{name: files, image: {reference: \""+private+"\", pullPolicy: Always}}]")+
		imagePod("own", private, "Always", "  imagePullSecrets: [{name: wrong}]"))
	for _, name := range []string{"plain", "placed", "mounting"} {
		waitSummary(t, ns, name, "Running")
	}
	waitSummary(t, ns, "own", miniv1.ReasonErrImagePull, miniv1.ReasonImagePullBackOff)
	if got := kubectl(t, ns, "get", "minipod", "plain", "own", "-o", "jsonpath={.items[*].status.imagePullSecrets[*].name}"); got != "pull" {
		t.Errorf("pull secrets by their ServiceAccounts: %q", got)
	}
}

// A container that ends again and again is restarted ever later, and says so; an image change replaces it in place.
func TestCrashLoopAndImageChange(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	apply(t, ns, `
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: crash}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: `+busybox+`, command: [sh, -c, exit 3]}]
---`+imagePod("change", imageV1, "IfNotPresent", ""))
	waitSummary(t, ns, "crash", miniv1.ReasonCrashLoopBackOff)
	waitSummary(t, ns, "change", "Running")
	pod := &miniv1.MiniPod{}
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "change"}, pod); err != nil {
		t.Fatal(err)
	}
	address := pod.Status.PodIP
	kubectl(t, ns, "patch", "minipod", "change", "--type=json", "-p", `[{"op":"replace","path":"/spec/containers/0/image","value":"`+imageV2+`"}]`)
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "the new image to run", func() (bool, string) {
		if err := api.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "change"}, pod); err != nil {
			return false, err.Error()
		}
		c := pod.Status.ContainerStatuses[0]
		return c.Image == imageV2 && c.Ready && pod.Status.PodIP == address, fmt.Sprintf("%+v at %s", c, pod.Status.PodIP)
	})
}
