package radwire

// Attributes that hold secrets and that nothing else of this package looks into.
const (
	attrARAPPassword   = 70
	attrARAPFeatures   = 71
	attrARAPSecurity   = 73
	attrARAPData       = 74
	attrPasswordRetry  = 75
	attrConfigToken    = 78
	attrDigestResponse = 103
	attrAscendSecret1  = 214 // Ascend-Send-Secret, before vendors had a space of their own
	attrAscendSecret2  = 215 // Ascend-Receive-Secret
)

// secretAttribute tells whether an attribute of this type may hold a password, a response computed from one, or a key: what
// nobody shall read in a log. Vendors' attributes are not told apart here; see Mask.
func secretAttribute(typ byte) bool {
	switch typ {
	case AttrUserPassword, AttrCHAPPassword, AttrTunnelPassword, attrARAPPassword, attrARAPFeatures, attrARAPSecurity, attrARAPData,
		attrPasswordRetry, attrConfigToken, AttrEAPMessage, attrDigestResponse, attrAscendSecret1, attrAscendSecret2:
		return true
	}
	return false
}

// maskByte overwrites what is secret.
const maskByte = '*'

// Mask appends p to dst with everything overwritten that may be secret: the attributes that secretAttribute names, and of
// vendors' attributes all but the vendor. p may be anything: what is behind the first attribute that does not fit is
// overwritten as a whole.
func Mask(dst, p []byte) []byte {
	from := len(dst)
	dst = append(dst, p...)
	m := dst[from:]
	at := HeaderLen
	for at+2 <= len(m) {
		n := int(m[at+1])
		if n < 2 || at+n > len(m) {
			break
		}
		value := m[at+2 : at+n]
		switch {
		case m[at] == AttrVendorSpecific && len(value) > 4:
			overwrite(value[4:])
		case secretAttribute(m[at]):
			overwrite(value)
		}
		at += n
	}
	if at < len(m) {
		overwrite(m[at:])
	}
	return dst
}

func overwrite(b []byte) {
	for i := range b {
		b[i] = maskByte
	}
}
