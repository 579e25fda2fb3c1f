package app

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"sereno/cmd/sereno/internal/admin"
)

// alarm is something that an operator should look at, as long as it stands. Its
// name and subject are what it is known by.
type alarm struct {
	name, subject string
	text          string
	since         time.Time // zero: since it was first seen
}

type alarmKey struct{ name, subject string }

// String is how an event names an alarm: NAME or NAME/SUBJECT.
func (k alarmKey) String() string {
	if k.subject == "" {
		return k.name
	}
	return k.name + "/" + k.subject
}

// alarmDrainsUnwritten stands while drains.json lacks what is drained (O12).
const alarmDrainsUnwritten = "drains-unwritten"

// raised is the state of an alarm that stands, in events.
const raised = "raised"

// alarmBook knows the alarms that stand. Log and event stream hear of each once
// when it is raised and once when it is over, whoever looks first.
type alarmBook struct {
	mu    sync.Mutex
	stand map[alarmKey]alarm
}

// alarms asks every room for what is wrong, and gives what stands, by name.
func (n *Node) alarms() []admin.Alarm {
	n.alarmed.mu.Lock()
	defer n.alarmed.mu.Unlock()
	now := map[alarmKey]alarm{}
	for _, a := range n.wrong() {
		key := alarmKey{a.name, a.subject}
		was, stood := n.alarmed.stand[key]
		if a.since.IsZero() {
			a.since = was.since
		}
		if a.since.IsZero() {
			a.since = n.now()
		}
		now[key] = a
		if !stood {
			n.log.Warn("alarm", zap.String("alarm", a.name), zap.String("subject", a.subject), zap.String("text", a.text))
			n.publish(admin.EventAlarm, key.String(), "", raised, "", a.text)
		}
	}
	for key, a := range n.alarmed.stand {
		if _, still := now[key]; !still {
			n.log.Info("alarm over", zap.String("alarm", a.name), zap.String("subject", a.subject), zap.Duration("stood", n.now().Sub(a.since).Round(time.Second)))
			n.publish(admin.EventAlarm, key.String(), raised, "", "", a.text)
		}
	}
	n.alarmed.stand = now
	out := make([]admin.Alarm, 0, len(now))
	for _, a := range now {
		out = append(out, admin.Alarm{Name: a.name, Subject: a.subject, Since: admin.Time{Time: a.since}, Text: a.text})
	}
	slices.SortFunc(out, func(a, b admin.Alarm) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Subject, b.Subject))
	})
	return out
}

// wrong is what the rooms say is wrong now. alarmed is held.
func (n *Node) wrong() []alarm {
	var out []alarm
	for _, a := range n.routes.Status().Alarms {
		out = append(out, alarm{name: a.Name, subject: a.Subject, text: a.Text, since: a.Since})
	}
	out = append(out, n.drains.alarms()...)
	for _, f := range n.shape.Load().fronts {
		stands := func(name string) bool {
			_, ok := n.alarmed.stand[alarmKey{name, f.name()}]
			return ok
		}
		for _, a := range f.alarms(stands) {
			a.subject = f.name()
			out = append(out, a)
		}
	}
	return out
}
