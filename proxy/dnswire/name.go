package dnswire

// maxJumps caps the compression pointers of one name. A name has at most 127
// labels, so no honest encoder needs more.
const maxJumps = 126

// lower maps upper case ASCII to lower case and leaves every other octet alone
// (RFC 4343 §3).
var lower = func() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
		if 'A' <= i && i <= 'Z' {
			t[i] = byte(i) + 'a' - 'A'
		}
	}
	return t
}()

// SkipName returns the offset of the first octet after the name at off, or -1 if
// the name does not fit the message or breaks a rule: a label over 63, a pointer
// that does not point backwards, a name over 255 octets once it is expanded.
func SkipName(m []byte, off int) int {
	end := -1
	for length, jumps, limit, stop := 0, 0, off, len(m); ; {
		if off < 0 || off >= stop {
			return -1
		}
		c := int(m[off])
		switch {
		case c == 0:
			if length+1 > MaxName {
				return -1
			}
			if end < 0 {
				end = off + 1
			}
			return end
		case c <= MaxLabel:
			length += c + 1
			if length > MaxName {
				return -1
			}
			off += c + 1
		case c >= 0xc0:
			if off+1 >= len(m) {
				return -1
			}
			if end < 0 {
				end = off + 2
			}
			target := (c&0x3f)<<8 | int(m[off+1])
			// Every jump must lead before the start of the labels it was reached
			// from, and what it leads to must end there, so a loop is impossible
			// (RFC 1035 §4.1.4: a "prior" occurrence of the same name).
			if target >= limit || target < HeaderLen || jumps == maxJumps {
				return -1
			}
			jumps++
			off, limit, stop = target, target, limit
		default: // 01 and 10 are reserved (RFC 6891 §5)
			return -1
		}
	}
}

// plainName returns the length of the uncompressed name at off, or 0 if it is
// compressed, breaks a rule or does not fit.
func plainName(m []byte, off int) int {
	for i := off; i < len(m); {
		c := int(m[i])
		if c == 0 {
			if n := i + 1 - off; n <= MaxName {
				return n
			}
			return 0
		}
		if c > MaxLabel {
			return 0
		}
		i += c + 1
	}
	return 0
}

// appendName appends the expanded name at off to dst in lower case. ok is false
// under the same conditions as SkipName returns -1.
func appendName(dst, m []byte, off int) (name []byte, ok bool) {
	if SkipName(m, off) < 0 {
		return dst, false
	}
	for {
		c := int(m[off])
		if c >= 0xc0 {
			off = (c&0x3f)<<8 | int(m[off+1])
			continue
		}
		for _, b := range m[off : off+c+1] {
			dst = append(dst, lower[b])
		}
		if c == 0 {
			return dst, true
		}
		off += c + 1
	}
}

// appendLower appends src to dst with ASCII in lower case. Length octets are 63 at
// most and so never change.
func appendLower(dst, src []byte) []byte {
	n := len(dst)
	dst = append(dst, src...)
	for i, b := range dst[n:] {
		dst[n+i] = lower[b]
	}
	return dst
}

// EqualFold reports whether two names on the wire are equal without regard to
// ASCII case (RFC 4343).
func EqualFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower[a[i]] != lower[b[i]] {
			return false
		}
	}
	return true
}

// ParseName turns a name as people write it into its wire form in lower case and
// appends it to dst. It takes `\.` and `\DDD`, and a missing last dot. ok is false for
// an empty label, one over 63 octets, and a name over 255 (RFC 1035 §2.3.4).
func ParseName(dst []byte, s string) (name []byte, ok bool) {
	start := len(dst)
	if s == "" || s == "." {
		return append(dst, 0), s == "."
	}
	label := len(dst)
	dst = append(dst, 0)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '.':
			n := len(dst) - label - 1
			if n == 0 || n > MaxLabel {
				return dst[:start], false
			}
			dst[label] = byte(n)
			label = len(dst)
			dst = append(dst, 0)
		case '\\':
			if i+3 < len(s) && digit(s[i+1]) && digit(s[i+2]) && digit(s[i+3]) {
				v := int(s[i+1]-'0')*100 + int(s[i+2]-'0')*10 + int(s[i+3]-'0')
				if v > 255 {
					return dst[:start], false
				}
				dst = append(dst, lower[v])
				i += 3
			} else if i+1 < len(s) {
				i++
				dst = append(dst, lower[s[i]])
			} else {
				return dst[:start], false
			}
		default:
			dst = append(dst, lower[c])
		}
	}
	if n := len(dst) - label - 1; n > MaxLabel {
		return dst[:start], false
	} else if n > 0 {
		dst[label] = byte(n)
		dst = append(dst, 0)
	}
	if len(dst)-start > MaxName {
		return dst[:start], false
	}
	return dst, true
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// NameString writes an uncompressed name as people do, with a last dot; octets that
// are not printable, dots and backslashes are escaped (RFC 4343 §2.1).
func NameString(name []byte) string {
	if len(name) <= 1 {
		return "."
	}
	out := make([]byte, 0, len(name)+8)
	for i := 0; i < len(name) && name[i] != 0; {
		n := int(name[i])
		if i+1+n > len(name) {
			break
		}
		for _, c := range name[i+1 : i+1+n] {
			switch {
			case c == '.' || c == '\\' || c == '"' || c == ';' || c == '(' || c == ')' || c == '@' || c == '$':
				out = append(out, '\\', c)
			case c < '!' || c > '~':
				out = append(out, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
			default:
				out = append(out, c)
			}
		}
		out = append(out, '.')
		i += n + 1
	}
	return string(out)
}
