package podplan

import "testing"

// A container's back-off does not grow when the machine's time is set back, nor end when it is set forward.
func TestBackoffIsCountedByTheAgent(t *testing.T) {
	o := seen(container("main", 0, 2, exited(1, 600, 610)))
	o.NoteEnds(at(10)) // the time was set back by ten minutes
	if got, _ := restart(o.Containers[0], o.endOf(o.Containers[0])); !got.Equal(at(30)) {
		t.Errorf("starts again at %s, want %s", got, at(30))
	}
	o.Containers[0].FinishedAt = at(-600) // another look, by another clock
	o.NoteEnds(at(11))
	if got, _ := restart(o.Containers[0], o.endOf(o.Containers[0])); !got.Equal(at(30)) {
		t.Errorf("starts again at %s, want %s", got, at(30))
	}
}

// What ends because its server failed is started again at once, and its crashes before that are remembered.
func TestServerFailureIsNoCrash(t *testing.T) {
	last := container("main", 3, 2, exited(137, 0, 1))
	last.ServerFailed = true
	if at, crashes := restart(last, at(1)); !at.IsZero() || crashes != 2 {
		t.Errorf("starts again at %s, with %d crashes", at, crashes)
	}
}
