// Command pulumi-resource-command is a resource plugin with the interface of the Python package pulumi-command:
// commands run here (local) or on another machine through SSH (remote), and files copied there.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/pulumi/pulumi-go-provider/infer"

	"hardway/toolchain/cmd/pulumi-resource-command/internal/local"
	"hardway/toolchain/cmd/pulumi-resource-command/internal/redact"
	"hardway/toolchain/cmd/pulumi-resource-command/internal/remote"
)

const (
	name = "command"
	// version is that of the Python package. The engine accepts a plugin only if both are equal.
	version = "1.2.1"
)

func main() {
	provider, err := infer.NewProviderBuilder().
		WithDisplayName("Command").
		WithDescription("Runs commands here or on another machine, as resources.").
		WithResources(
			infer.Resource(local.Command{}),
			infer.Resource(remote.Command{}),
			infer.Resource(remote.CopyToRemote{}),
			infer.Resource(remote.CopyFile{}),
		).
		WithFunctions(infer.Function(local.Run{})).
		Build()
	if err == nil {
		err = redact.Wrap(provider).Run(context.Background(), name, version)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "pulumi-resource-command: %v\n", err)
		os.Exit(1)
	}
}
