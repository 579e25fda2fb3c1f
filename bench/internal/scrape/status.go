package scrape

import (
	"encoding/json"
	"fmt"
)

// Status is what tests and the laboratory read of GET /api/v1/status.
type Status struct {
	State  string       `json:"state"`
	Config LoadedConfig `json:"config"`
	Pools  []struct {
		Name     string `json:"name"`
		Backends []struct {
			Name  string `json:"name"`
			Role  string `json:"role"`
			State string `json:"state"`
			Since string `json:"since"`
		} `json:"backends"`
	} `json:"pools"`
	Services []struct {
		Name     string `json:"name"`
		State    string `json:"state"`
		Reason   string `json:"reason"`
		Requests int64  `json:"requests"`
		Answers  int64  `json:"answers"`
		Drops    int64  `json:"drops"`
		InFlight int64  `json:"in_flight"`
	} `json:"services"`
	Anycast []struct {
		Name     string `json:"name"`
		State    string `json:"state"`
		Reason   string `json:"reason"`
		WaitsFor string `json:"waits_for"`
	} `json:"anycast"`
	BGP struct {
		Neighbors []struct {
			Name      string `json:"name"`
			State     string `json:"state"`
			LastError string `json:"last_error"`
		} `json:"neighbors"`
	} `json:"bgp"`
	Alarms []struct {
		Name string `json:"name"`
		Text string `json:"text"`
	} `json:"alarms"`
}

// LoadedConfig is what the status says of the configuration.
type LoadedConfig struct {
	Hash      string `json:"hash"`
	Loaded    string `json:"loaded"`
	LastError string `json:"last_error"`
}

// ParseStatus reads the body of GET /api/v1/status.
func ParseStatus(body []byte) (Status, error) {
	var s Status
	if err := json.Unmarshal(body, &s); err != nil {
		return s, fmt.Errorf("status: %w in %s", err, body)
	}
	return s, nil
}

// Backend gives a backend's state in a role, "" when there is no such backend.
func (s Status) Backend(name, role string) string {
	for _, p := range s.Pools {
		for _, b := range p.Backends {
			if b.Name == name && b.Role == role {
				return b.State
			}
		}
	}
	return ""
}

// Service gives a service's state, "" when there is no such service.
func (s Status) Service(name string) string {
	for _, v := range s.Services {
		if v.Name == name {
			return v.State
		}
	}
	return ""
}
