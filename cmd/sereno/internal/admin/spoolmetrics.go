package admin

import "github.com/prometheus/client_golang/prometheus"

// spoolDescs are the metrics of spools.
type spoolDescs struct {
	records, bytes, oldest, aside, disk, most, accepts, rate                                                *prometheus.Desc
	stored, recovered, delivered, resent, wasAside, damaged, coalesced, takenBack, dropped, refused, failed *prometheus.Desc
}

func newSpoolDescs(d func(name, help string, labels ...string) *prometheus.Desc) *spoolDescs {
	return &spoolDescs{
		records: d("spool_records", "Accounting records on disk that no backend has yet.", "service"),
		bytes:   d("spool_bytes", "Bytes of the accounting records on disk.", "service"),
		oldest:  d("spool_oldest_seconds", "Age of the oldest accounting record on disk.", "service"),
		aside:   d("spool_set_aside_records", "Accounting records that no backend acknowledged and that are set aside.", "service"),
		disk:    d("spool_disk_bytes", "Bytes of the spool's files.", "service"),
		most:    d("spool_max_bytes", "spool_max: what the files may take.", "service"),
		accepts: d("spool_accepts", "1 while accounting records are taken, 0 while the spool is full or its disk fails.", "service"),
		rate:    d("spool_delivered_per_second", "Accounting records delivered from the spool in a second, over the last ten.", "service"),

		stored:    d("spool_stored_total", "Accounting records stored.", "service"),
		recovered: d("spool_recovered_total", "Accounting records found at the start, from an earlier process.", "service"),
		delivered: d("spool_delivered_total", "Accounting records that a backend acknowledged.", "service"),
		resent:    d("spool_resent_total", "Copies of accounting records sent, by reason: silent, anew, asked-live.", "service", "reason"),
		wasAside:  d("spool_set_aside_total", "Accounting records that were set aside.", "service"),
		damaged:   d("spool_damaged_total", "Stretches of the spool's files that are not what was written.", "service"),
		coalesced: d("spool_coalesced_total", "Interim-Updates that a newer one of their session replaced (coalesce_interim).", "service"),
		takenBack: d("spool_taken_back_total", "Accounting records that a backend acknowledged after all.", "service"),
		dropped:   d("spool_dropped_total", "Accounting records that an operator dropped.", "service"),
		refused:   d("spool_refused_total", "Accounting records that a full spool did not take, by class: interim, start, stop.", "service", "class"),
		failed:    d("spool_disk_failed_total", "Accounting records that the disk did not take.", "service"),
	}
}

func (d *spoolDescs) collect(e emitter, service string, m *SpoolMetrics) {
	e.gauge(d.records, float64(m.Records), service)
	e.gauge(d.bytes, float64(m.Bytes), service)
	e.gauge(d.oldest, m.OldestSeconds, service)
	e.gauge(d.aside, float64(m.Aside), service)
	e.gauge(d.disk, float64(m.Disk), service)
	e.gauge(d.most, float64(m.Max), service)
	e.gauge(d.accepts, one(m.Accepts), service)
	e.gauge(d.rate, m.PerSecond, service)
	e.counter(d.stored, m.Stored, service)
	e.counter(d.recovered, m.Recovered, service)
	e.counter(d.delivered, m.Delivered, service)
	e.counter(d.wasAside, m.SetAside, service)
	e.counter(d.damaged, m.Damaged, service)
	e.counter(d.coalesced, m.Coalesced, service)
	e.counter(d.takenBack, m.TakenBack, service)
	e.counter(d.dropped, m.Dropped, service)
	e.counter(d.failed, m.DiskFailed, service)
	for reason, n := range m.Resent {
		e.counter(d.resent, n, service, reason)
	}
	for class, n := range m.Refused {
		e.counter(d.refused, n, service, class)
	}
}
