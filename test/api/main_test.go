package api

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"miniplane.dev/miniplane/test/testenv"
)

const (
	jsonPatch  = types.JSONPatchType
	mergePatch = types.MergePatchType
)

func TestMain(m *testing.M) { testenv.Main(m) }
