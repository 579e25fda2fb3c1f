package lab

// Scenarios are all that can be played.
func Scenarios() []Scenario {
	return []Scenario{
		{Name: "backend-killed", Says: "one resolver and one RADIUS server of site 1 are killed, and come back", play: backendKilled},
		{Name: "backend-frozen", Says: "one resolver and one RADIUS server of site 1 are stopped (SIGSTOP), and go on", play: backendFrozen},
		{Name: "site-backends-killed", Says: "all backends of site 1 are killed, and come back", play: siteBackendsKilled},
		{Name: "node-killed", Says: "node 1 is killed (SIGKILL), and started again", play: nodeKilled},
		{Name: "node-frozen", Says: "node 1 is stopped (SIGSTOP) for longer than its lease, and goes on", play: nodeFrozen},
		{Name: "node-starved", Says: "node 1 may run for a fifth of each 200 ms only, for 6 s", play: nodeStarved},
		{Name: "speaker-killed", Says: "the speakers of node 1 are killed", play: speakerKilled},
		{Name: "speaker-frozen", Says: "the speakers of node 1 are stopped (SIGSTOP)", play: speakerFrozen},
		{Name: "drain-and-stop", Says: "node 1's DNS and then its RADIUS are drained, put back, and then node 1 is stopped (SIGTERM)", play: drainAndStop},
		{Name: "link-cut", Says: "the link between node 1 and the first router goes down, and comes back", play: linkCut},
		{Name: "router-restarted", Says: "the first router's BIRD is killed, and started again after a second", play: routerRestarted},
		{Name: "rolling-upgrade", Says: "each node in turn is stopped (SIGTERM) and started again", play: rollingUpgrade},
		{Name: "moved-live", Says: "node 1 and its speakers stand still for 2 s (a virtual machine that is moved), and go on", play: movedLive},
		{Name: "all-sick-withdraw", Says: "every resolver of both sites is killed; when_down: withdraw",
			setup: setup{names: 50, warm: true}, play: allSickWithdraw},
		{Name: "all-sick-demote", Says: "every resolver of both sites is killed; when_down: demote",
			setup: setup{whenDown: "demote", names: 50, warm: true}, play: allSickDemote},
		{Name: "all-sick-hand-over", Says: "every resolver of site 1, then of site 2, is killed; when_down: hand-over",
			setup: setup{whenDown: "hand-over", names: 50, warm: true}, play: allSickHandOver},
		{Name: "three-sites-hand-over", Says: "every resolver of site 1, 2 and 3 is killed, one site after the other; when_down: hand-over",
			setup: setup{sites: 3, whenDown: "hand-over", names: 50, warm: true}, play: threeSitesHandOver},
		{Name: "backend-blackholed", Says: "nothing that a resolver and a RADIUS server of site 1 send arrives, for a while", play: backendBlackholed},
		{Name: "backend-servfail", Says: "a resolver of site 1 answers SERVFAIL to everything", play: backendServfail},
		{Name: "backend-half-servfail", Says: "a resolver of site 1 answers SERVFAIL to every second query", play: backendHalfServfail},
		{Name: "flapping", Says: "the resolvers of site 1 die three times, and come back", play: flapping},
		{Name: "malformed-bgp", Says: "a third neighbor of node 1 sends malformed BGP messages", setup: setup{neighbors: malignNeighbor}, play: malformedBGP},
	}
}

// Find gives the scenario of that name.
func Find(name string) (Scenario, bool) {
	for _, s := range Scenarios() {
		if s.Name == name {
			return s, true
		}
	}
	return Scenario{}, false
}
