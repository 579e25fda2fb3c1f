package udp

import (
	"fmt"
	"strings"
)

// noteBuffers keeps what was read back and says what is missing.
func (c *Conn) noteBuffers(recv, send int, want ListenConfig) {
	c.recvBuffer, c.sendBuffer = recv, send
	var short []string
	if recv < want.RecvBuffer {
		short = append(short, shortBuffer("receive", recv, want.RecvBuffer, "net.core.rmem_max"))
	}
	if send < want.SendBuffer {
		short = append(short, shortBuffer("send", send, want.SendBuffer, "net.core.wmem_max"))
	}
	c.warning = strings.Join(short, "; ")
}

func shortBuffer(which string, got, want int, sysctl string) string {
	return fmt.Sprintf("the %s buffer is %d bytes instead of %d: set sysctl %s to %d or more", which, got, want, sysctl, want)
}
