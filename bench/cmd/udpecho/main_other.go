//go:build !linux

// Command udpecho needs recvmmsg and sendmmsg, which only Linux has in this form.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "udpecho: this program needs Linux")
	os.Exit(1)
}
