package radwire

// format is how a value is written.
type format uint8

const (
	octets format = iota
	text
	number
	ip4
	ip6
	prefix6
	interfaceID
	date
	taggedText   // RFC 2868
	taggedNumber // RFC 2868
)

type name struct {
	name   string
	format format
}

// names are the attributes of RFC 2865 to 2869, 3162, 4372, 4675, 4818, 4849,
// 5176, 5580, 6519 and 6911, as the dictionaries of FreeRADIUS spell them. It is
// never changed.
var names = map[byte]name{
	1:   {"User-Name", text},
	2:   {"User-Password", text},
	3:   {"CHAP-Password", octets},
	4:   {"NAS-IP-Address", ip4},
	5:   {"NAS-Port", number},
	6:   {"Service-Type", number},
	7:   {"Framed-Protocol", number},
	8:   {"Framed-IP-Address", ip4},
	9:   {"Framed-IP-Netmask", ip4},
	10:  {"Framed-Routing", number},
	11:  {"Filter-Id", text},
	12:  {"Framed-MTU", number},
	13:  {"Framed-Compression", number},
	14:  {"Login-IP-Host", ip4},
	15:  {"Login-Service", number},
	16:  {"Login-TCP-Port", number},
	18:  {"Reply-Message", text},
	19:  {"Callback-Number", text},
	20:  {"Callback-Id", text},
	22:  {"Framed-Route", text},
	23:  {"Framed-IPX-Network", ip4},
	24:  {"State", octets},
	25:  {"Class", octets},
	27:  {"Session-Timeout", number},
	28:  {"Idle-Timeout", number},
	29:  {"Termination-Action", number},
	30:  {"Called-Station-Id", text},
	31:  {"Calling-Station-Id", text},
	32:  {"NAS-Identifier", text},
	33:  {"Proxy-State", octets},
	34:  {"Login-LAT-Service", text},
	35:  {"Login-LAT-Node", text},
	36:  {"Login-LAT-Group", octets},
	37:  {"Framed-AppleTalk-Link", number},
	38:  {"Framed-AppleTalk-Network", number},
	39:  {"Framed-AppleTalk-Zone", text},
	40:  {"Acct-Status-Type", number},
	41:  {"Acct-Delay-Time", number},
	42:  {"Acct-Input-Octets", number},
	43:  {"Acct-Output-Octets", number},
	44:  {"Acct-Session-Id", text},
	45:  {"Acct-Authentic", number},
	46:  {"Acct-Session-Time", number},
	47:  {"Acct-Input-Packets", number},
	48:  {"Acct-Output-Packets", number},
	49:  {"Acct-Terminate-Cause", number},
	50:  {"Acct-Multi-Session-Id", text},
	51:  {"Acct-Link-Count", number},
	52:  {"Acct-Input-Gigawords", number},
	53:  {"Acct-Output-Gigawords", number},
	55:  {"Event-Timestamp", date},
	56:  {"Egress-VLANID", number},
	57:  {"Ingress-Filters", number},
	58:  {"Egress-VLAN-Name", text},
	59:  {"User-Priority-Table", octets},
	60:  {"CHAP-Challenge", octets},
	61:  {"NAS-Port-Type", number},
	62:  {"Port-Limit", number},
	63:  {"Login-LAT-Port", text},
	64:  {"Tunnel-Type", taggedNumber},
	65:  {"Tunnel-Medium-Type", taggedNumber},
	66:  {"Tunnel-Client-Endpoint", taggedText},
	67:  {"Tunnel-Server-Endpoint", taggedText},
	68:  {"Acct-Tunnel-Connection", text},
	69:  {"Tunnel-Password", taggedText},
	70:  {"ARAP-Password", octets},
	71:  {"ARAP-Features", octets},
	72:  {"ARAP-Zone-Access", number},
	73:  {"ARAP-Security", number},
	74:  {"ARAP-Security-Data", text},
	75:  {"Password-Retry", number},
	76:  {"Prompt", number},
	77:  {"Connect-Info", text},
	78:  {"Configuration-Token", text},
	79:  {"EAP-Message", octets},
	80:  {"Message-Authenticator", octets},
	81:  {"Tunnel-Private-Group-Id", taggedText},
	82:  {"Tunnel-Assignment-Id", taggedText},
	83:  {"Tunnel-Preference", taggedNumber},
	84:  {"ARAP-Challenge-Response", octets},
	85:  {"Acct-Interim-Interval", number},
	86:  {"Acct-Tunnel-Packets-Lost", number},
	87:  {"NAS-Port-Id", text},
	88:  {"Framed-Pool", text},
	89:  {"Chargeable-User-Identity", octets},
	90:  {"Tunnel-Client-Auth-Id", taggedText},
	91:  {"Tunnel-Server-Auth-Id", taggedText},
	92:  {"NAS-Filter-Rule", text},
	95:  {"NAS-IPv6-Address", ip6},
	96:  {"Framed-Interface-Id", interfaceID},
	97:  {"Framed-IPv6-Prefix", prefix6},
	98:  {"Login-IPv6-Host", ip6},
	99:  {"Framed-IPv6-Route", text},
	100: {"Framed-IPv6-Pool", text},
	101: {"Error-Cause", number},
	123: {"Delegated-IPv6-Prefix", prefix6},
	126: {"Operator-Name", text},
	127: {"Location-Information", octets},
	128: {"Location-Data", octets},
	129: {"Basic-Location-Policy-Rules", octets},
	130: {"Extended-Location-Policy-Rules", text},
	131: {"Location-Capable", number},
	132: {"Requested-Location-Info", number},
	144: {"DS-Lite-Tunnel-Name", text},
	168: {"Framed-IPv6-Address", ip6},
	169: {"DNS-Server-IPv6-Address", ip6},
	170: {"Route-IPv6-Information", prefix6},
	171: {"Delegated-IPv6-Prefix-Pool", text},
	172: {"Stateful-IPv6-Address-Pool", text},
}

// valueNames are the values that people look for in accounting, by attribute. It
// is never changed.
var valueNames = map[byte]map[uint32]string{
	6:  {1: "Login-User", 2: "Framed-User", 3: "Callback-Login-User", 4: "Callback-Framed-User", 5: "Outbound-User", 6: "Administrative-User", 7: "NAS-Prompt-User", 8: "Authenticate-Only", 9: "Callback-NAS-Prompt", 10: "Call-Check", 11: "Callback-Administrative"},                                                                                                                         // Service-Type
	7:  {1: "PPP", 2: "SLIP", 3: "ARAP", 4: "Gandalf-SLML", 5: "Xylogics-IPX-SLIP", 6: "X.75-Synchronous"},                                                                                                                                                                                                                                                                                      // Framed-Protocol
	40: {1: "Start", 2: "Stop", 3: "Interim-Update", 7: "Accounting-On", 8: "Accounting-Off", 9: "Tunnel-Start", 10: "Tunnel-Stop", 11: "Tunnel-Reject", 12: "Tunnel-Link-Start", 13: "Tunnel-Link-Stop", 14: "Tunnel-Link-Reject", 15: "Failed"},                                                                                                                                               // Acct-Status-Type
	45: {1: "RADIUS", 2: "Local", 3: "Remote", 4: "Diameter"},                                                                                                                                                                                                                                                                                                                                   // Acct-Authentic
	49: {1: "User-Request", 2: "Lost-Carrier", 3: "Lost-Service", 4: "Idle-Timeout", 5: "Session-Timeout", 6: "Admin-Reset", 7: "Admin-Reboot", 8: "Port-Error", 9: "NAS-Error", 10: "NAS-Request", 11: "NAS-Reboot", 12: "Port-Unneeded", 13: "Port-Preempted", 14: "Port-Suspended", 15: "Service-Unavailable", 16: "Callback", 17: "User-Error", 18: "Host-Request"},                         // Acct-Terminate-Cause
	61: {0: "Async", 1: "Sync", 2: "ISDN", 3: "ISDN-V120", 4: "ISDN-V110", 5: "Virtual", 6: "PIAFS", 7: "HDLC-Clear-Channel", 8: "X.25", 9: "X.75", 10: "G.3-Fax", 11: "SDSL", 12: "ADSL-CAP", 13: "ADSL-DMT", 14: "IDSL", 15: "Ethernet", 16: "xDSL", 17: "Cable", 18: "Wireless-Other", 19: "Wireless-802.11", 30: "PPPoA", 31: "PPPoEoA", 32: "PPPoEoE", 33: "PPPoEoVLAN", 34: "PPPoEoQinQ"}, // NAS-Port-Type
	29: {0: "Default", 1: "RADIUS-Request"},                                                                                                                                                                                                                                                                                                                                                     // Termination-Action
}
