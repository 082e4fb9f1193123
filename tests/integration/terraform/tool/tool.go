//go:build tools

// Package tool names the program that `make terraform` builds, so that go.mod and go.sum pin all of it.
package tool

import _ "github.com/hashicorp/terraform"
