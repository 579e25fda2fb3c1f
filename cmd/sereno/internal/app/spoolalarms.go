package app

import (
	"fmt"

	"sereno/proxy/radiusfront"
)

// The alarms of a spool (R45).
const (
	alarmSpoolFilling  = "spool-filling"   // above 90 % of spool_max: Interim-Updates are not taken
	alarmSpoolFull     = "spool-full"      // nothing is taken
	alarmSpoolSetAside = "spool-set-aside" // records that no server acknowledges
	alarmSpoolDisk     = "spool-disk"      // it does not take what it is given
	alarmSpoolDamaged  = "spool-damaged"   // damaged-*.bin lie in the directory
	alarmSpoolForeign  = "spool-foreign"   // the directory is another node's
	alarmSpoolUnopened = "spool-unopened"  // it could not be opened for another reason
)

const (
	spoolFilling    = 0.90 // the spool's own bound for Interim-Updates (R43)
	spoolFillingEnd = 0.85 // below it the alarm is over: it does not flap
	spoolFull       = 0.99 // what does not take a record any more is above this
)

// alarms are those of the service's spool.
func (s *radiusService) alarms(stands func(name string) bool) []alarm {
	damaged := 0
	if sp := s.Spool(); sp != nil {
		damaged = sp.DamagedFiles()
	}
	return spoolAlarms(s.SpoolStats(), damaged, stands)
}

func spoolAlarms(sp *radiusfront.SpoolStats, damagedFiles int, stands func(name string) bool) []alarm {
	if sp == nil {
		return nil
	}
	var out []alarm
	add := func(name, format string, values ...any) {
		out = append(out, alarm{name: name, text: fmt.Sprintf(format, values...)})
	}
	switch {
	case sp.Foreign:
		add(alarmSpoolForeign, "serving without a spool: %s", sp.Error)
		return out
	case sp.Unopened:
		add(alarmSpoolUnopened, "serving without a spool; it is tried again every ten seconds: %s", sp.Error)
		return out
	case sp.Error != "":
		add(alarmSpoolDisk, "accounting that no server answers cannot be stored and is not acknowledged: %s", sp.Error)
	case !sp.Accepts && sp.Used > spoolFull:
		add(alarmSpoolFull, "accounting that no server answers is not acknowledged: bring servers back, or raise spool_max and reload")
	}
	if sp.Used >= spoolFilling || sp.Used >= spoolFillingEnd && stands(alarmSpoolFilling) {
		add(alarmSpoolFilling, "%.0f %% of spool_max is taken; above 90 %% no Interim-Update is stored, above 95 %% no Start", 100*sp.Used)
	}
	if sp.Aside > 0 {
		add(alarmSpoolSetAside, "no server acknowledges %d records: sereno spool list --set-aside", sp.Aside)
	}
	if damagedFiles > 0 {
		add(alarmSpoolDamaged, "damaged pieces of the spool's files are kept as %d files damaged-*.bin: move them away when they have been looked at", damagedFiles)
	}
	return out
}
