// Package stub is the backends of tests and of the demo: a DNS resolver that
// knows every name, and a RADIUS server that knows every user.
//
// Both are deterministic. What a question's answer must be is written in its
// name (see Answer), and what becomes of a login is written in the user's name
// (see Login), so whoever asks can check every answer without asking twice,
// however many servers and caches were on the way.
//
// Both check what they are sent as strictly as a real server would: request
// authenticators, Message-Authenticators, and that passwords decrypt to what
// the user typed. What is wrong is counted and not answered.
//
// Both can be made to fail while they run (Mode): fall silent, close their
// ports, answer late, with errors, or with replies that a front must refuse.
//
// Everything exported is safe for concurrent use.
package stub
