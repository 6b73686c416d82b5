// Package redact removes secret values from errors and log lines.
//
// The engine's request marks secret inputs, but the mark is lost when an input becomes a Go string. So this package
// sees every request first, collects its secrets and passes them on in the context.
package redact

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	provider "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

const (
	placeholder = "[secret]"
	// The minimum length of a secret that is replaced, and of a line of a longer secret. Shorter texts occur in
	// ordinary output by chance.
	minLength     = 4
	minLineLength = 8
)

// publicInConnection are the properties of a connection that errors may show, although the Python package declares the
// whole connection secret.
var publicInConnection = map[string]bool{"host": true, "user": true, "hostKey": true, "agentSocketPath": true}

// Redactor replaces the secrets of one request.
type Redactor struct {
	properties []property.Map
	replacer   func() *strings.Replacer
}

// newRedactor returns a redactor of the secrets among the properties. It collects them only when it redacts the first
// text, because a secret can be many megabytes of standard input.
func newRedactor(properties ...property.Map) *Redactor {
	r := &Redactor{properties: properties}
	r.replacer = sync.OnceValue(func() *strings.Replacer {
		var pairs []string
		for _, secret := range r.secrets() {
			pairs = append(pairs, secret, placeholder)
		}
		return strings.NewReplacer(pairs...)
	})
	return r
}

// Text returns text without the secrets.
func (r *Redactor) Text(text string) string {
	return r.replacer().Replace(text)
}

type contextKey struct{}

// From returns the redactor of the request that ctx belongs to.
func From(ctx context.Context) *Redactor {
	if redactor, found := ctx.Value(contextKey{}).(*Redactor); found {
		return redactor
	}
	return newRedactor()
}

// Wrap returns a provider that adds a redactor to the context of each operation and redacts its errors.
func Wrap(p provider.Provider) provider.Provider {
	create, update, del, invoke := p.Create, p.Update, p.Delete, p.Invoke
	p.Create = func(ctx context.Context, req provider.CreateRequest) (provider.CreateResponse, error) {
		ctx, redactor := with(ctx, req.Properties)
		resp, err := create(ctx, req)
		return resp, redactor.wrap(err)
	}
	p.Update = func(ctx context.Context, req provider.UpdateRequest) (provider.UpdateResponse, error) {
		ctx, redactor := with(ctx, req.Inputs, req.State)
		resp, err := update(ctx, req)
		return resp, redactor.wrap(err)
	}
	p.Delete = func(ctx context.Context, req provider.DeleteRequest) error {
		ctx, redactor := with(ctx, req.Properties)
		return redactor.wrap(del(ctx, req))
	}
	p.Invoke = func(ctx context.Context, req provider.InvokeRequest) (provider.InvokeResponse, error) {
		ctx, redactor := with(ctx, req.Args)
		resp, err := invoke(ctx, req)
		return resp, redactor.wrap(err)
	}
	return p
}

// with returns ctx with the redactor for the secrets among the properties.
func with(ctx context.Context, properties ...property.Map) (context.Context, *Redactor) {
	redactor := newRedactor(properties...)
	return context.WithValue(ctx, contextKey{}, redactor), redactor
}

// secrets returns the secrets among the properties. The longest is first, because one can be part of another.
func (r *Redactor) secrets() []string {
	found := map[string]struct{}{}
	for _, m := range r.properties {
		for key, value := range m.All {
			var public map[string]bool
			if key == "connection" {
				public = publicInConnection
			}
			collect(value, false, public, found)
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b string) int {
		return cmp.Compare(len(b), len(a))
	})
}

// collect adds every secret string in or below value, except those under a public key.
func collect(value property.Value, secret bool, public map[string]bool, found map[string]struct{}) {
	secret = secret || value.Secret()
	switch {
	case value.IsString() && secret:
		add(value.AsString(), found)
	case value.IsAsset() && secret:
		add(value.AsAsset().Text, found)
	case value.IsArray():
		for _, element := range value.AsArray().All {
			collect(element, secret, public, found)
		}
	case value.IsMap():
		for key, element := range value.AsMap().All {
			if !public[key] {
				collect(element, secret, public, found)
			}
		}
	}
}

// add adds a secret and each of its lines, because output is logged by lines.
func add(secret string, found map[string]struct{}) {
	if whole := strings.TrimSpace(secret); len(whole) >= minLength {
		found[whole] = struct{}{}
	}
	for line := range strings.Lines(secret) {
		if line = strings.TrimSpace(line); len(line) >= minLineLength {
			found[line] = struct{}{}
		}
	}
}

// wrap returns err without the secrets in its message.
func (r *Redactor) wrap(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if clean := r.Text(text); clean != text {
		return errors.New(clean)
	}
	return err
}
