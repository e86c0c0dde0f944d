package node

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"miniplane.dev/miniplane/test/testenv"
)

// agentBinary is built once for the package.
var agentBinary string

func TestMain(m *testing.M) {
	agentBinary = filepath.Join(testenv.Root(), "bin", "nodeagent-for-tests")
	if os.Getenv("MINIPLANE_PREBUILT") != "" { // on a machine without Go; hack/vm brought it
		testenv.Main(m)
		return
	}
	build := exec.Command("go", "build", "-o", agentBinary, "./cmd/nodeagent")
	build.Dir, build.Stdout, build.Stderr = testenv.Root(), os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building the agent:", err)
		os.Exit(1)
	}
	testenv.Main(m)
}
