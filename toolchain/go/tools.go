//go:build tools

// Package toolchain pins in go.mod the engine, which is built directly from its own module.
package toolchain

import _ "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
