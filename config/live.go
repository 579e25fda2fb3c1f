package config

// liveKeys are the keys that a reload changes in the running node; a list of
// sections stands for its items coming and going. Every other key needs a
// restart: a new key does until somebody made it live and wrote it here.
var liveKeys = []string{
	"log.level",
	"admin.socket", "admin.listen", "admin.token_file",
	"include",
	"pools", "pools[].name", "pools[].protocol", "pools[].balance", "pools[].min_healthy", "pools[].attempts",
	"pools[].attempt_timeout", "pools[].timeout", "pools[].retry_budget", "pools[].hash_key", "pools[].backends",
	"pools[].backends[].name", "pools[].backends[].address", "pools[].backends[].weight", "pools[].backends[].backup",
	"pools[].backends[].max_in_flight", "pools[].backends[].source", "pools[].backends[].auth_port",
	"pools[].backends[].acct_port", "pools[].backends[].secret", "pools[].backends[].secret_file",
	"pools[].backends[].message_authenticator", "pools[].health.interval", "pools[].health.timeout",
	"pools[].health.fall", "pools[].health.rise", "pools[].health.suspect_after", "pools[].health.slow_start",
	"pools[].health.dns.name", "pools[].health.dns.type", "pools[].health.dns.random_label", "pools[].health.dns.rcodes",
	"pools[].health.dns.answer", "pools[].health.radius.method", "pools[].health.radius.acct_probe",
	"pools[].health.radius.user", "pools[].health.radius.password", "pools[].health.radius.password_file",
	"pools[].health.radius.expect",
	"dns", "dns[].name", "dns[].listen", "dns[].tls.listen", "dns[].tls.certificate", "dns[].tls.key", "dns[].tls.name",
	"dns[].https.listen", "dns[].https.certificate", "dns[].https.key", "dns[].https.path", "dns[].pool", "dns[].routes",
	"dns[].routes[].zones", "dns[].routes[].pool", "dns[].allow", "dns[].deny", "dns[].udp_size", "dns[].any",
	"dns[].ecs", "dns[].cookie_secret_file", "dns[].cache.enabled", "dns[].cache.entries", "dns[].cache.max_ttl",
	"dns[].cache.min_ttl", "dns[].cache.negative_ttl", "dns[].cache.failure_ttl", "dns[].cache.negative_share",
	"dns[].cache.stale.for", "dns[].cache.stale.after", "dns[].cache.stale.ttl", "dns[].cache.snapshot",
	"dns[].rate_limit.queries_per_second", "dns[].rate_limit.burst", "dns[].rate_limit.ipv4_prefix",
	"dns[].rate_limit.ipv6_prefix", "dns[].rate_limit.exempt", "dns[].tcp.max_connections", "dns[].tcp.max_per_client",
	"dns[].tcp.idle_timeout", "dns[].tcp.max_pipelined", "dns[].dns64.prefix", "dns[].dns64.exclude", "dns[].block",
	"dns[].block[].file", "dns[].block[].format", "dns[].block[].action", "dns[].block[].reason",
	"radius", "radius[].name", "radius[].auth", "radius[].acct", "radius[].coa", "radius[].coa_source", "radius[].pool",
	"radius[].routes", "radius[].routes[].realm", "radius[].routes[].pool", "radius[].routes[].strip_realm",
	"radius[].clients", "radius[].clients[].name", "radius[].clients[].address", "radius[].clients[].secret",
	"radius[].clients[].secret_file", "radius[].clients[].message_authenticator", "radius[].clients[].coa_port",
	"radius[].clients[].max_in_flight", "radius[].duplicate_window", "radius[].proxy_state", "radius[].accounting.spool",
	"radius[].accounting.spool_max", "radius[].accounting.ack", "radius[].accounting.coalesce_interim",
	"radius[].survival.mode", "radius[].survival.max_age", "radius[].survival.session_timeout",
	"radius[].survival.realms", "radius[].survival.static_prefixes",
	"bgp.asn", "bgp.router_id", "bgp.site", "bgp.lease", "bgp.listen",
	"bgp.neighbors", "bgp.neighbors[].name", "bgp.neighbors[].address", "bgp.neighbors[].asn", "bgp.neighbors[].port",
	"bgp.neighbors[].password_file", "bgp.neighbors[].hold_time", "bgp.neighbors[].connect_retry",
	"bgp.neighbors[].multihop_ttl", "bgp.neighbors[].ttl_security", "bgp.neighbors[].source", "bgp.neighbors[].family",
	"bgp.neighbors[].next_hop", "bgp.neighbors[].max_received", "bgp.neighbors[].graceful_restart",
	"anycast", "anycast[].name", "anycast[].prefixes", "anycast[].requires", "anycast[].when_down",
	"anycast[].announce_after", "anycast[].max_announce_delay", "anycast[].communities", "anycast[].no_export",
	"anycast[].allow_covering", "anycast[].med", "anycast[].local_pref", "anycast[].demote.med",
	"anycast[].demote.prepend", "anycast[].demote.local_pref", "anycast[].demote.communities", "anycast[].drain_time",
	"anycast[].assign",
	"availability.target", "availability.keep", "availability.good_within.dns", "availability.good_within.radius",
	"availability.good_within.accounting",
}

// restartKeys are the keys that are known to need a restart, because they name
// the node to the outside, are the place of its state, or are how its log is
// read.
var restartKeys = []string{
	"node.name", "node.state_dir",
	"log.format",
}
