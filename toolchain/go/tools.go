//go:build tools

// Package toolchain pins, in go.mod, the program that is built straight from its own module: the engine.
package toolchain

import _ "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
