//go:build !linux

// Command compare needs Linux.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "compare: this needs Linux")
	os.Exit(1)
}
