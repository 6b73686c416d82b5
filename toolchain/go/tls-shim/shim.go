// Package shim hands out the TLS provider, which upstream keeps in an internal package. Its import path lies below
// the provider's own, and that is what lets it import from there.
package shim

import (
	"github.com/hashicorp/terraform-plugin-framework/provider"

	tls "github.com/hashicorp/terraform-provider-tls/internal/provider"
)

// NewProvider returns the terraform-plugin-framework provider of hashicorp/tls.
func NewProvider() provider.Provider {
	return tls.New()
}
