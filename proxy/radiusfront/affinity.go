package radiusfront

// issued is told of every answer of a backend that goes to a NAS.
func (w *worker) issued(*flight, *attempt, []byte) {}
