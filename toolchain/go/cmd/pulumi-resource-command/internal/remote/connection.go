// Package remote runs commands on another machine through SSH and copies files there: the resources Command,
// CopyToRemote and CopyFile.
package remote

import (
	"net"
	"strconv"
	"time"

	"github.com/pulumi/pulumi-go-provider/infer"
)

// The defaults of a connection, as the Python package documents them.
const (
	defaultUser           = "root"
	defaultPort           = 22
	defaultDialErrorLimit = 10
	defaultPerDialTimeout = 15 // seconds
)

// endpoint has the parameters to connect to one SSH server. Connection and ProxyConnection have the same properties,
// but different descriptions.
type endpoint struct {
	user, host         string
	port               int
	password           string
	privateKey         string
	privateKeyPassword string
	agentSocketPath    string
	hostKey            string        // in the format of authorized_keys; "" accepts any
	dialErrorLimit     int           // negative: no limit
	perDialTimeout     time.Duration // 0: no limit
}

// address returns host:port.
func (e endpoint) address() string {
	return net.JoinHostPort(e.host, strconv.Itoa(e.port))
}

// Connection has the parameters to connect to a machine.
type Connection struct {
	User               *string          `pulumi:"user,optional"`
	Password           *string          `pulumi:"password,optional"`
	Host               string           `pulumi:"host"`
	Port               *float64         `pulumi:"port,optional"`
	PrivateKey         *string          `pulumi:"privateKey,optional"`
	PrivateKeyPassword *string          `pulumi:"privateKeyPassword,optional"`
	AgentSocketPath    *string          `pulumi:"agentSocketPath,optional"`
	DialErrorLimit     *int             `pulumi:"dialErrorLimit,optional"`
	PerDialTimeout     *int             `pulumi:"perDialTimeout,optional"`
	HostKey            *string          `pulumi:"hostKey,optional"`
	Proxy              *ProxyConnection `pulumi:"proxy,optional"`
}

// Annotate describes the properties and sets their defaults.
func (c *Connection) Annotate(a infer.Annotator) {
	a.Describe(c, "How to connect to a machine.")
	a.Describe(&c.User, "The user to log in as.")
	a.SetDefault(&c.User, defaultUser)
	a.Describe(&c.Password, "The user's password.")
	a.Describe(&c.Host, "The machine's address.")
	a.Describe(&c.Port, "The port of its SSH server.")
	a.SetDefault(&c.Port, defaultPort)
	a.Describe(&c.PrivateKey, "The private key to log in with. It is tried before the password.")
	a.Describe(&c.PrivateKeyPassword, "The password of the private key, where it is encrypted.")
	a.Describe(&c.AgentSocketPath, "The socket of an SSH agent; SSH_AUTH_SOCK unless given.")
	a.Describe(&c.DialErrorLimit, "How many attempts to connect may fail; -1 for any number.")
	a.SetDefault(&c.DialErrorLimit, defaultDialErrorLimit)
	a.Describe(&c.PerDialTimeout, "Seconds for each attempt, from the first packet to the finished log-in; 0 for no limit.")
	a.SetDefault(&c.PerDialTimeout, defaultPerDialTimeout)
	a.Describe(&c.HostKey, "The server's host key. Any other ends the connection; without one, none is checked.")
	a.Describe(&c.Proxy, "The jump host to connect through.")
}

func (c *Connection) endpoint() endpoint {
	return endpoint{
		user: or(c.User, defaultUser), host: c.Host, port: int(or(c.Port, defaultPort)),
		password: or(c.Password, ""), privateKey: or(c.PrivateKey, ""),
		privateKeyPassword: or(c.PrivateKeyPassword, ""), agentSocketPath: or(c.AgentSocketPath, ""),
		hostKey: or(c.HostKey, ""), dialErrorLimit: or(c.DialErrorLimit, defaultDialErrorLimit),
		perDialTimeout: seconds(or(c.PerDialTimeout, defaultPerDialTimeout)),
	}
}

// ProxyConnection has the parameters to connect to a jump host.
type ProxyConnection struct {
	User               *string  `pulumi:"user,optional"`
	Password           *string  `pulumi:"password,optional"`
	Host               string   `pulumi:"host"`
	Port               *float64 `pulumi:"port,optional"`
	PrivateKey         *string  `pulumi:"privateKey,optional"`
	PrivateKeyPassword *string  `pulumi:"privateKeyPassword,optional"`
	AgentSocketPath    *string  `pulumi:"agentSocketPath,optional"`
	DialErrorLimit     *int     `pulumi:"dialErrorLimit,optional"`
	PerDialTimeout     *int     `pulumi:"perDialTimeout,optional"`
	HostKey            *string  `pulumi:"hostKey,optional"`
}

// Annotate describes the properties and sets their defaults.
func (c *ProxyConnection) Annotate(a infer.Annotator) {
	a.Describe(c, "How to connect to a jump host.")
	a.Describe(&c.User, "The user to log in as.")
	a.SetDefault(&c.User, defaultUser)
	a.Describe(&c.Password, "The user's password.")
	a.Describe(&c.Host, "The jump host's address.")
	a.Describe(&c.Port, "The port of its SSH server.")
	a.SetDefault(&c.Port, defaultPort)
	a.Describe(&c.PrivateKey, "The private key to log in with. It is tried before the password.")
	a.Describe(&c.PrivateKeyPassword, "The password of the private key, where it is encrypted.")
	a.Describe(&c.AgentSocketPath, "The socket of an SSH agent; SSH_AUTH_SOCK unless given.")
	a.Describe(&c.DialErrorLimit, "How many attempts to connect may fail; -1 for any number.")
	a.SetDefault(&c.DialErrorLimit, defaultDialErrorLimit)
	a.Describe(&c.PerDialTimeout, "Seconds for each attempt, from the first packet to the finished log-in; 0 for no limit.")
	a.SetDefault(&c.PerDialTimeout, defaultPerDialTimeout)
	a.Describe(&c.HostKey, "The server's host key. Any other ends the connection; without one, none is checked.")
}

func (c *ProxyConnection) endpoint() endpoint {
	direct := Connection{
		User: c.User, Password: c.Password, Host: c.Host, Port: c.Port, PrivateKey: c.PrivateKey,
		PrivateKeyPassword: c.PrivateKeyPassword, AgentSocketPath: c.AgentSocketPath,
		DialErrorLimit: c.DialErrorLimit, PerDialTimeout: c.PerDialTimeout, HostKey: c.HostKey,
	}
	return direct.endpoint()
}

// or returns an optional value, or the fallback if it is nil.
func or[T any](optional *T, fallback T) T {
	if optional == nil {
		return fallback
	}
	return *optional
}

func seconds(n int) time.Duration {
	return time.Duration(n) * time.Second
}
