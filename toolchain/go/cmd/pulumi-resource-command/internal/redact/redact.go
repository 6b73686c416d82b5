// Package redact keeps secret values out of what people read: errors and log lines.
//
// Whether an input is secret is known where the engine's request comes in and lost once it is a Go string. So every
// request passes through here first: its secrets are collected and travel on in the context.
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
	// The shortest secret, and the shortest line of a longer one, that is replaced. Anything shorter turns up in
	// ordinary text by chance.
	minLength     = 4
	minLineLength = 8
)

// publicInConnection are the properties of a connection that errors must be able to name, although the package makes
// the connection secret as a whole.
var publicInConnection = map[string]bool{"host": true, "user": true, "hostKey": true, "agentSocketPath": true}

// Redactor replaces the secrets of one request.
type Redactor struct {
	properties []property.Map
	replacer   func() *strings.Replacer
}

// newRedactor returns a redactor of the secrets among the properties. They are looked for once a text is there to be
// redacted: a secret can be many megabytes of standard input.
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

// Wrap returns the provider with a redactor in the context of each operation, and secrets taken out of its errors.
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

// secrets returns the secrets among the properties, the longest first: one can be part of another.
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

// collect adds every string in or below value that is secret, but for those under a public key.
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

// add takes in a secret as a whole and line by line: output is logged by lines.
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

// wrap returns err with the secrets taken out of its message.
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
