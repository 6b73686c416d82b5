// Package shim exports the TLS provider, which upstream keeps in an internal package. Go lets this package import it
// because its import path is below that of the provider.
package shim

import (
	"github.com/hashicorp/terraform-plugin-framework/provider"

	tls "github.com/hashicorp/terraform-provider-tls/internal/provider"
)

// NewProvider returns the terraform-plugin-framework provider of hashicorp/tls.
func NewProvider() provider.Provider {
	return tls.New()
}
