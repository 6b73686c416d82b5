// Command pulumi-resource-libvirt is the resource plugin of the Python package pulumi-libvirt: the bridge over the
// Terraform provider that the package was generated from.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/dmacvicar/terraform-provider-libvirt/libvirt"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge/tokens"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfgen"
	sdkv2 "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
)

const (
	name = "libvirt"
	// version is that of the Python package. The engine accepts a plugin only if both are equal.
	version = "0.5.4"
	// maxNameLength is the maximum length of a name that is generated for a resource.
	maxNameLength = 255
)

func main() {
	schema, err := packageSchema()
	if err != nil {
		fmt.Fprintf(os.Stderr, "pulumi-resource-libvirt: making the schema: %v\n", err)
		os.Exit(1)
	}
	tfbridge.Main(name, version, providerInfo(), schema)
}

// providerInfo maps the Terraform provider's names onto the Python package's.
func providerInfo() tfbridge.ProviderInfo {
	info := tfbridge.ProviderInfo{
		P:            sdkv2.NewProvider(libvirt.Provider()),
		Name:         name,
		Version:      version,
		MetadataInfo: tfbridge.NewProviderMetadata(nil),
		Config: map[string]*tfbridge.SchemaInfo{
			"uri": {Default: &tfbridge.DefaultInfo{EnvVars: []string{"LIBVIRT_DEFAULT_URI"}}},
		},
		Resources: map[string]*tfbridge.ResourceInfo{
			// The rule below would name it CloudinitDisk.
			"libvirt_cloudinit_disk": {Tok: tfbridge.MakeResource(name, "index", "CloudInitDisk")},
		},
	}
	info.MustComputeTokens(tokens.SingleModule("libvirt_", "index", tokens.MakeStandard(name)))
	info.SetAutonaming(maxNameLength, "-")
	return info
}

// packageSchema returns the package's schema as JSON. It is generated from the provider at each start (0.1 s), so it
// cannot differ from the provider.
func packageSchema() ([]byte, error) {
	quiet := diag.DefaultSink(io.Discard, io.Discard, diag.FormatOptions{Color: colors.Never})
	generated, err := tfgen.GenerateSchemaWithOptions(tfgen.GenerateSchemaOptions{
		ProviderInfo: providerInfo(), DiagnosticsSink: quiet, XInMemoryDocs: true,
	})
	if err != nil {
		return nil, err
	}
	return json.Marshal(generated.PackageSpec)
}
