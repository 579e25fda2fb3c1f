package radiusfront

import "sereno/proxy/radwire"

// Kind is what a request is about.
type Kind uint8

// The kinds.
const (
	KindAuth Kind = iota
	KindAcct
	KindCoA
	KindStatus
	NumKinds
)

// String is the kind as a metric's label.
func (k Kind) String() string {
	switch k {
	case KindAuth:
		return "auth"
	case KindAcct:
		return "acct"
	case KindCoA:
		return "coa"
	case KindStatus:
		return "status"
	}
	return "unknown"
}

// Source is where an answer came from.
type Source uint8

// The sources.
const (
	SourceBackend Source = iota
	SourceSpool
	SourceDuplicate
	SourceSurvival
	SourceSelf
	NumSources
)

// String is the source as a metric's label.
func (s Source) String() string {
	switch s {
	case SourceBackend:
		return "backend"
	case SourceSpool:
		return "spool"
	case SourceDuplicate:
		return "duplicate"
	case SourceSurvival:
		return "survival"
	case SourceSelf:
		return "self"
	}
	return "unknown"
}

// AnswerCode is the code of an answer, in a dense numbering for counters.
type AnswerCode uint8

// The codes that an answer can have.
const (
	AnswerAccept AnswerCode = iota
	AnswerReject
	AnswerChallenge
	AnswerAccounting
	AnswerCoAACK
	AnswerCoANAK
	AnswerDisconnectACK
	AnswerDisconnectNAK
	NumAnswerCodes
)

var answerCodes = [NumAnswerCodes]radwire.Code{
	radwire.AccessAccept, radwire.AccessReject, radwire.AccessChallenge, radwire.AccountingResponse,
	radwire.CoAACK, radwire.CoANAK, radwire.DisconnectACK, radwire.DisconnectNAK,
}

// String is the code's name in the RFCs, as a metric's label.
func (a AnswerCode) String() string {
	if a < NumAnswerCodes {
		return answerCodes[a].String()
	}
	return "unknown"
}

func answerCode(c radwire.Code) AnswerCode {
	for i, code := range answerCodes {
		if c == code {
			return AnswerCode(i)
		}
	}
	return AnswerAccept // unreachable: only codes that answer a request come here
}

// Reason says why a request was dropped, or a reply ignored.
type Reason uint8

// The reasons for which a request gets no answer.
const (
	ReasonMalformed             Reason = iota // R01, R02
	ReasonMessageAuthenticators               // two of them, or one of a wrong length (R06)
	ReasonCode                                // does not belong to the port (R05)
	ReasonUnknownClient                       // R05
	ReasonAuthenticator                       // request authenticator wrong (R10)
	ReasonMessageAuthenticator                // wrong (R12)
	ReasonUnsigned                            // no Message-Authenticator where one is required (R12, R13)
	ReasonReplaced                            // another request came under its identifier (R20)
	ReasonDuplicate                           // its first is still in flight (R20)
	ReasonLoop                                // carries our own Proxy-State
	ReasonTooLong                             // above 4096 with what has to be added (R04)
	ReasonClientLimit                         // the client's max_in_flight (R37)
	ReasonServiceLimit                        // the bound on all in flight (R37)
	ReasonNoBackend                           // no backend to send it to
	ReasonNoIdentifier                        // every identifier of the backend is in use or resting (R22)
	ReasonTimeout                             // no backend answered (R30)
	ReasonStateLost                           // the backend that holds the EAP conversation is down (R32)
	ReasonNoPool                              // the pool has no backend in this role
	ReasonStale                               // Event-Timestamp more than 300 s from now (R50)
	ReasonForbidden                           // CoA from a backend that does not serve the NAS (R50)
	ReasonClosing                             // the service is being stopped
	ReasonSpoolFull                           // no backend answers, and the spool has no room for a record of its class (R43)
	ReasonSpoolFailed                         // no backend answers, and the disk did not take it (R40)
	ReasonPanic                               // a fault of ours (O33)
	NumReasons
)

var reasonNames = [NumReasons]string{
	"malformed", "message-authenticators", "code", "unknown-client", "authenticator", "message-authenticator",
	"unsigned", "replaced", "duplicate", "loop", "too-long", "client-limit", "service-limit",
	"no-backend", "no-identifier", "timeout", "state-lost", "no-pool", "stale", "forbidden", "closing",
	"spool-full", "spool-failed", "panic",
}

// String is the reason as a metric's label.
func (r Reason) String() string {
	if r < NumReasons {
		return reasonNames[r]
	}
	return "unknown"
}

// ofBackends tells whether a request is dropped for want of an answer, and through no
// fault of its own.
func (r Reason) ofBackends() bool {
	return r == ReasonNoBackend || r == ReasonNoIdentifier || r == ReasonTimeout
}

// ReplyReason says why a backend's reply was not used. Such replies are not
// requests and stand outside the equation.
type ReplyReason uint8

// The reasons for which a reply is ignored (R11, R12, R31).
const (
	ReplyMalformed            ReplyReason = iota
	ReplyUnmatched                        // no request has this identifier on this socket
	ReplyLate                             // its request is over
	ReplyAuthenticator                    // does not verify (R10)
	ReplyCode                             // does not fit the request (R11)
	ReplyMessageAuthenticator             // does not verify, or two (R12)
	ReplyUnsigned                         // none where one is required (R12, R13)
	ReplyTooLong                          // does not fit in 4096 with what has to be added (R04)
	NumReplyReasons
)

var replyReasonNames = [NumReplyReasons]string{
	"malformed", "unmatched", "late", "authenticator", "code", "message-authenticator", "unsigned", "too-long",
}

// String is the reason as a metric's label.
func (r ReplyReason) String() string {
	if r < NumReplyReasons {
		return replyReasonNames[r]
	}
	return "unknown"
}
