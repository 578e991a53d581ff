package caddylti

import "testing"

// Two sites may call their platforms the same: what waits for one delays no
// other, and people read the name they gave.
func TestQueuesAreOfRegistrations(t *testing.T) {
	one, two := &course{Platform: "moodle", Registration: []byte("a")}, &course{Platform: "moodle", Registration: []byte("b")}
	if one.queue() == two.queue() || one.queue() != (&course{Platform: "moodle", Registration: []byte("a"), Context: "c"}).queue() {
		t.Errorf("queues %q and %q", one.queue(), two.queue())
	}
	if got := queueName(one.queue()); got != "moodle" {
		t.Errorf("it is called %q", got)
	}
}
