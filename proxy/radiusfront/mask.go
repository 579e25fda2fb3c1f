package radiusfront

import (
	"encoding/json"
	"fmt"
	"io"
)

// Clients and backends hold secrets, so whatever prints them prints their
// names alone (R15).

// String names the client.
func (c ClientConfig) String() string { return fmt.Sprintf("client %s (%s)", c.Name, c.Address) }

// Format names the client for every verb of package fmt.
func (c ClientConfig) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// MarshalJSON names the client.
func (c ClientConfig) MarshalJSON() ([]byte, error) { return json.Marshal(c.String()) }

// MarshalYAML names the client.
func (c ClientConfig) MarshalYAML() (any, error) { return c.String(), nil }

// String gives the ports.
func (c BackendConfig) String() string {
	return fmt.Sprintf("ports %d and %d", c.AuthPort, c.AcctPort)
}

// Format gives the ports for every verb of package fmt.
func (c BackendConfig) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// MarshalJSON gives the ports.
func (c BackendConfig) MarshalJSON() ([]byte, error) { return json.Marshal(c.String()) }

// MarshalYAML gives the ports.
func (c BackendConfig) MarshalYAML() (any, error) { return c.String(), nil }
