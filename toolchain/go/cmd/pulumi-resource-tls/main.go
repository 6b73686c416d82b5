// Command pulumi-resource-tls is the resource plugin of the Python package pulumi-tls: the bridge over the
// Terraform provider that the package was generated from.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/terraform-provider-tls/shim"
	pftfbridge "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfgen"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
)

const (
	name = "tls"
	// version is the Python package's: the engine takes a plugin only where the two are equal.
	version = "5.6.2"
)

func main() {
	ctx := context.Background()
	metadata, err := providerMetadata(ctx)
	if err != nil {
		fmt.Fprintf(os.Stderr, "pulumi-resource-tls: making the schema: %v\n", err)
		os.Exit(1)
	}
	pftfbridge.Main(ctx, name, providerInfo(), metadata)
}

// providerInfo maps the Terraform provider's names onto the Python package's.
func providerInfo() tfbridge.ProviderInfo {
	info := tfbridge.ProviderInfo{
		P:            pftfbridge.ShimProvider(shim.NewProvider()),
		Name:         name,
		Version:      version,
		MetadataInfo: tfbridge.NewProviderMetadata(nil),
	}
	info.MustComputeTokens(tokens.SingleModule("tls_", "index", tokens.MakeStandard(name)))
	return info
}

// providerMetadata holds the package's schema. Made from the provider itself at each start (0.1 s), it cannot differ
// from it.
func providerMetadata(ctx context.Context) (pftfbridge.ProviderMetadata, error) {
	quiet := diag.DefaultSink(io.Discard, io.Discard, diag.FormatOptions{Color: colors.Never})
	generated, err := tfgen.GenerateSchema(ctx, tfgen.GenerateSchemaOptions{
		ProviderInfo: providerInfo(), DiagnosticsSink: quiet, XInMemoryDocs: true,
	})
	if err != nil {
		return pftfbridge.ProviderMetadata{}, err
	}
	return generated.ProviderMetadata, nil
}
