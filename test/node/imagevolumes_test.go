package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/containerdenv"
)

// TestImageVols: what an image calls volumes are directories of each container's own, which begin as what the image has there, can be written also
// where nothing else can, and go with the container; but for that at whose place the MiniPod has another one.
func TestImageVols(t *testing.T) {
	for name, flags := range shims {
		t.Run(name, func(t *testing.T) { testImageVolumes(t, newEnv(t, flags...)) })
	}
}

func testImageVolumes(t *testing.T, e *env) {
	t.Helper()
	e.containerd.ImportImage(t, "docker.io/library/volumes:test", containerdenv.Busybox(t,
		v1.Config{User: "1001", Volumes: map[string]struct{}{"/data": {}, "/seeded/": {}, "linked": {}, "/own": {}, "/": {}}},
		containerdenv.File{Path: "seeded/", Mode: 0o1750, Owner: 1001}, containerdenv.File{Path: "seeded/deep/", Mode: 0o700, Owner: 1001},
		containerdenv.File{Path: "seeded/deep/file", Mode: 0o640, Owner: 1001, Data: []byte("from the image\n")}))
	attack := filepath.Join(e.dir, "precious")
	if err := os.WriteFile(attack, []byte("of the node"), 0o644); err != nil {
		t.Fatal(err)
	}
	// The second run finds nothing of what the first one did; the third one that of the last.
	script := `stat -c '%n %u:%g:%a' /data /linked /seeded /seeded/deep /seeded/deep/file; cat /seeded/deep/file; echo own: $(ls /own)
[ -e /seeded/was-here ] && echo OF AN EARLIER RUN
echo more >>/seeded/deep/file && touch /seeded/was-here && echo it can be written; touch /elsewhere 2>/dev/null && echo ELSEWHERE TOO
ln -s ` + attack + ` /seeded/link; ln -s / /seeded/root; cd /seeded; i=0; while [ $i -lt 100 ]; do mkdir ` + strings.Repeat("d", 200) + `; cd ` + strings.Repeat("d", 200) + `; i=$((i+1)); done
[ -e /own/twice ] && exec sleep 1000; [ -e /own/once ] && touch /own/twice; touch /own/once; exit 1`
	readOnly := true
	e.run(e.sh("a", script, func(p *miniv1.MiniPod) {
		p.Spec.Volumes = []miniv1.Volume{{Name: "own", EmptyDir: &miniv1.EmptyDirVolumeSource{}}}
		p.Spec.Containers[0].Image = "volumes:test"
		p.Spec.Containers[0].SecurityContext = &miniv1.SecurityContext{ReadOnlyRootFilesystem: &readOnly}
		p.Spec.Containers[0].VolumeMounts = []miniv1.VolumeMount{{Name: "own", MountPath: "/own"}}
	}))
	e.until("it ran three times", func() bool {
		pod := e.get("a")
		return pod.Status.Restarts == 2 && strings.Contains(e.logOf(pod), "it can be written")
	})
	pod := e.get("a")
	log := e.logOf(pod)
	for _, line := range []string{"/data 0:0:755", "/linked 0:0:755", "/seeded 1001:1001:1750", "/seeded/deep 1001:1001:700", "/seeded/deep/file 1001:1001:640",
		"from the image", "own: once twice", "it can be written"} {
		if !strings.Contains(log, " F "+line+"\n") {
			t.Errorf("it does not say %q:\n%s", line, log)
		}
	}
	for _, word := range []string{"EARLIER", "ELSEWHERE"} {
		if strings.Contains(log, word) {
			t.Error(log)
		}
	}
	of := func(pod *miniv1.MiniPod) []string {
		found, _ := filepath.Glob(filepath.Join(e.rootDir(), "volumes", string(pod.UID), ".image", "*"))
		return found
	}
	// As containers are kept: that which runs, and the one before.
	e.until("volumes of the first run are gone", func() bool { return len(of(pod)) == 2 })
	e.kill()
	e.start()
	e.run(e.sh("after", "sleep 1000"))
	if after := e.shows("after", "Running"); len(of(after)) != 0 {
		t.Error("one whose image has no volumes has such")
	}
	if now := e.get("a"); now.Status.Restarts != 2 || len(of(now)) != 2 {
		t.Errorf("after the agent's restart: %+v, %v", now.Status, of(now))
	}
	for _, name := range []string{"a", "after"} {
		e.delete(name)
		e.gone(name)
	}
	e.clean()
	if text, err := os.ReadFile(attack); err != nil || string(text) != "of the node" {
		t.Errorf("%q, %v", text, err)
	}
}
