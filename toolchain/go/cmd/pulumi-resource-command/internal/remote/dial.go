package remote

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	provider "github.com/pulumi/pulumi-go-provider"
	"golang.org/x/crypto/ssh"
)

const (
	// The pauses between attempts grow from the first to the longest. They vary randomly by up to a quarter, so that a
	// server that drops a burst of connections (sshd's MaxStartups) does not see the same burst again.
	firstPause   = 200 * time.Millisecond
	longestPause = 5 * time.Second
	pauseGrowth  = 1.5

	// A peer that lost its power never closes the connection. So the client sends a request every keepaliveInterval, and
	// gives up if the answer takes longer than keepaliveTimeout. It notices a lost peer after a minute at most. An
	// emulated machine that starts all of its services at once can take more than 20 s to answer.
	keepaliveInterval = 10 * time.Second
	keepaliveTimeout  = 50 * time.Second
)

// client is a connection to a machine. It ends with its context.
type client struct {
	*ssh.Client
	address string
	proxy   *client
	stop    func() bool // stops watching the context

	mutex sync.Mutex
	cause error // reason why this side closed the connection
}

// dial connects to the machine, through the jump host if there is one.
func dial(ctx context.Context, c *Connection) (*client, error) {
	if c.Proxy == nil {
		return dialEndpoint(ctx, c.endpoint(), (&net.Dialer{}).DialContext, nil)
	}
	proxy, err := dialEndpoint(ctx, c.Proxy.endpoint(), (&net.Dialer{}).DialContext, nil)
	if err != nil {
		return nil, fmt.Errorf("jump host: %w", err)
	}
	target, err := dialEndpoint(ctx, c.endpoint(), proxy.DialContext, proxy)
	if err != nil {
		proxy.Close()
		return nil, fmt.Errorf("through jump host %s: %w", proxy.address, err)
	}
	return target, nil
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// dialEndpoint tries to connect until it succeeds, the limit of errors is reached, or an error is permanent.
func dialEndpoint(ctx context.Context, e endpoint, dialConn dialFunc, proxy *client) (*client, error) {
	pause := firstPause
	for failed := 1; ; failed++ {
		connection, err := dialOnce(ctx, e, dialConn)
		if err == nil {
			return newClient(ctx, connection, e.address(), proxy), nil
		}
		var permanent *permanentError
		if errors.As(err, &permanent) {
			return nil, permanent.error
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("cancelled (%w) while connecting to %s", context.Cause(ctx), e.address())
		}
		if e.dialErrorLimit >= 0 && failed >= e.dialErrorLimit {
			return nil, fmt.Errorf("cannot connect to %s as %s after %d attempts: %w", e.address(), e.user, failed, err)
		}
		provider.GetLogger(ctx).InfoStatusf("connecting to %s: attempt %d failed: %v", e.address(), failed, err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(float64(pause) * (0.75 + rand.Float64()/2))):
		}
		pause = min(time.Duration(float64(pause)*pauseGrowth), longestPause)
	}
}

// permanentError is an error that every further attempt would repeat.
type permanentError struct{ error }

// dialOnce makes one attempt. Its time-out covers everything up to the finished log-in, because a port may accept
// connections and never answer.
func dialOnce(ctx context.Context, e endpoint, dialConn dialFunc) (*ssh.Client, error) {
	config, closeAgent, err := clientConfig(e)
	if err != nil {
		return nil, &permanentError{err}
	}
	defer closeAgent()
	if e.perDialTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, e.perDialTimeout,
			fmt.Errorf("no finished log-in within %v", e.perDialTimeout))
		defer cancel()
	}
	conn, err := dialConn(ctx, "tcp", e.address())
	if err != nil {
		return nil, causeOr(ctx, err)
	}
	type handshake struct {
		client *ssh.Client
		err    error
	}
	done := make(chan handshake, 1)
	go func() {
		connection, channels, requests, err := ssh.NewClientConn(conn, e.address(), config)
		if err != nil {
			done <- handshake{err: err}
			return
		}
		done <- handshake{client: ssh.NewClient(connection, channels, requests)}
	}()
	select {
	case <-ctx.Done():
		// Not every kind of connection supports deadlines, but closing one always ends the handshake.
		_ = conn.Close()
		return nil, context.Cause(ctx)
	case result := <-done:
		if result.err == nil {
			return result.client, nil
		}
		_ = conn.Close()
		var wrongKey *hostKeyError
		if errors.As(result.err, &wrongKey) {
			return nil, &permanentError{wrongKey}
		}
		return nil, result.err
	}
}

// causeOr returns the reason why ctx ended, or err if it has not ended.
func causeOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func newClient(ctx context.Context, connection *ssh.Client, address string, proxy *client) *client {
	c := &client{Client: connection, address: address, proxy: proxy}
	c.stop = context.AfterFunc(ctx, func() { c.abort(context.Cause(ctx)) })
	go c.keepAlive()
	return c
}

// Close ends the connection, and the one to the jump host.
func (c *client) Close() {
	c.stop()
	_ = c.Client.Close()
	if c.proxy != nil {
		c.proxy.Close()
	}
}

// abort ends the connection and records the reason.
func (c *client) abort(cause error) {
	c.mutex.Lock()
	if c.cause == nil {
		c.cause = cause
	}
	c.mutex.Unlock()
	_ = c.Client.Close()
}

// aborted returns the reason why this side closed the connection, or nil if it did not.
func (c *client) aborted() error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.cause
}

// keepAlive checks regularly that the peer still answers, until the connection is closed.
func (c *client) keepAlive() {
	closed := make(chan struct{})
	go func() {
		_ = c.Wait()
		close(closed)
	}()
	for {
		select {
		case <-closed:
			return
		case <-time.After(keepaliveInterval):
		}
		answered := make(chan struct{})
		go func() {
			// A refusal is also an answer.
			_, _, _ = c.SendRequest("keepalive@openssh.com", true, nil)
			close(answered)
		}()
		select {
		case <-closed:
			return
		case <-answered:
		case <-time.After(keepaliveTimeout):
			c.abort(fmt.Errorf("%s has not answered for %v", c.address, keepaliveTimeout))
			return
		}
	}
}
