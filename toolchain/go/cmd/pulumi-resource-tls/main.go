// Command pulumi-resource-tls is the resource plugin of the Python package pulumi-tls: the bridge over the
// Terraform provider that the package was generated from.
package main

import (
	"context"
	"io"

	"github.com/hashicorp/terraform-provider-tls/shim"
	pftfbridge "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfgen"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
)

const (
	name = "tls"
	// version is that of the Python package. The engine accepts a plugin only if both are equal.
	version = "5.6.2"
)

func main() {
	metadata := pftfbridge.ProviderMetadata{XGetSchema: packageSchema}
	pftfbridge.Main(context.Background(), name, providerInfo(), metadata)
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

// packageSchema returns the package's schema as JSON. It is generated from the provider, so it cannot differ from it.
// It is generated on demand, because the run of a program does not need it.
func packageSchema(ctx context.Context, _ plugin.GetSchemaRequest) ([]byte, error) {
	quiet := diag.DefaultSink(io.Discard, io.Discard, diag.FormatOptions{Color: colors.Never})
	generated, err := tfgen.GenerateSchema(ctx, tfgen.GenerateSchemaOptions{
		ProviderInfo: providerInfo(), DiagnosticsSink: quiet, XInMemoryDocs: true,
	})
	if err != nil {
		return nil, err
	}
	return generated.ProviderMetadata.PackageSchema, nil
}
