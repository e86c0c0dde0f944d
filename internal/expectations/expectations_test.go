package expectations_test

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"miniplane.dev/miniplane/internal/expectations"
)

func TestStore(t *testing.T) {
	owner, other := types.NamespacedName{Namespace: "ns", Name: "a"}, types.NamespacedName{Namespace: "ns", Name: "b"}
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	cache := map[types.UID]bool{} // UID → being deleted
	exists := func(uid types.UID) (found, deleting bool) { deleting, found = cache[uid]; return found, deleting }
	store := expectations.New(func() time.Time { return now })
	check := func(step string, want bool) {
		t.Helper()
		if got := store.Satisfied(owner, exists); got != want {
			t.Errorf("%s: satisfied %v, want %v", step, got, want)
		}
	}

	check("nothing expected", true)
	store.ExpectCreated(owner, "1")
	store.ExpectCreated(owner, "2")
	check("created, not seen", false)
	cache["1"] = false
	check("one of two seen", false)
	cache["2"] = false
	check("both seen", true)

	store.ExpectDeleted(owner, "1")
	store.ExpectDeleted(owner, "2")
	check("deleted, not seen", false)
	cache["1"] = true
	delete(cache, "2")
	check("one being deleted, one gone", true)

	store.ExpectCreated(owner, "3")
	now = now.Add(expectations.Timeout + time.Second)
	check("given up", true)

	store.ExpectCreated(owner, "4")
	store.Forget(owner)
	check("forgotten", true)

	store.ExpectCreated(other, "5")
	check("another owner's", true)
}
