package e2e

import (
	"fmt"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// who asks the API server for a Secret.
type who struct {
	user   string
	groups []string
}

func accountOf(node string) who {
	return who{"system:serviceaccount:" + miniv1.NodesNamespace + ":" + node, []string{"system:serviceaccounts", "system:authenticated"}}
}

// may asks the API server itself whether somebody may read a Secret; "" stands for all of a namespace.
func (w who) may(t *testing.T, verb, ns, secret string) bool {
	t.Helper()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: w.user, Groups: w.groups,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: ns, Verb: verb, Version: "v1", Resource: "secrets", Name: secret}}}
	if err := api.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

// A node pulls with the Secret that its MiniPod names, and reads neither another one nor what other nodes use.
func TestNodesReadTheirSecretsOnly(t *testing.T) {
	ns := namespace(t)
	host, user, password := cluster.registry()
	for _, name := range []string{"pull", "unused"} {
		kubectl(t, ns, "create", "secret", "docker-registry", name, "--docker-server="+host, "--docker-username="+user, "--docker-password="+password)
	}
	nodes := cluster.nodes(t)
	apply(t, ns, imagePod("private", host+"/private/echo:v1", "Always", "  imagePullSecrets: [{name: pull}]\n  nodeName: "+nodes[0].name))
	waitSummary(t, ns, "private", "Running")
	its := accountOf(nodes[0].name)
	for _, try := range []struct {
		what         string
		who          who
		verb, secret string
		may          bool
	}{
		{"its node's account", its, "get", "pull", true},
		{"its node's account, what nobody uses", its, "get", "unused", false},
		{"its node's account, all", its, "list", "", false},
		{"its node's account, writing", its, "update", "pull", false},
		{"the agents' account", who{"system:serviceaccount:miniplane-system:miniplane-agent", []string{"system:serviceaccounts"}}, "get", "pull", false},
		{"an agent's certificate", who{"system:miniplane:node:" + nodes[0].name, []string{"system:miniplane:nodes"}}, "get", "pull", false},
		{"the manager", who{"system:serviceaccount:miniplane-system:miniplane-manager", []string{"system:serviceaccounts"}}, "get", "pull", false},
	} {
		if got := try.who.may(t, try.verb, ns, try.secret); got != try.may {
			t.Errorf("%s may %s: %t", try.what, try.verb, got)
		}
	}
	for _, other := range nodes[1:] {
		if accountOf(other.name).may(t, "get", ns, "pull") {
			t.Errorf("%s may read what only %s uses", other.name, nodes[0].name)
		}
	}
	// What is granted stays for MiniPods that come again, and is not needed for those that use nothing.
	apply(t, ns, imagePod("again", host+"/private/echo:v1", "Always", "  imagePullSecrets: [{name: pull}]\n  nodeName: "+nodes[0].name)+
		imagePod("public", imageV1, "IfNotPresent", "  nodeName: "+nodes[len(nodes)-1].name))
	waitSummary(t, ns, "again", "Running")
	waitSummary(t, ns, "public", "Running")
	var roles rbacv1.RoleList
	if err := api.List(t.Context(), &roles, client.InNamespace(ns), client.MatchingLabels{miniv1.GrantLabel: "true"}); err != nil {
		t.Fatal(err)
	}
	if len(roles.Items) != 1 || !strings.HasSuffix(roles.Items[0].Name, ":"+nodes[0].name) {
		t.Errorf("granted is %s, and one MiniPod needs it", fmt.Sprint(roles.Items))
	}
}
