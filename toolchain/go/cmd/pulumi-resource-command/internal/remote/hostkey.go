package remote

import (
	"bytes"
	"fmt"
	"net"

	"golang.org/x/crypto/ssh"
)

// hostKeyError is a server that showed another host key than the pinned one. No further attempt can help.
type hostKeyError struct {
	address        string
	expected, seen ssh.PublicKey
}

func (e *hostKeyError) Error() string {
	return fmt.Sprintf("the host key of %s is not the expected one: expected %s %s, seen %s %s. "+
		"Either it is another machine that answers there, or the machine was made anew",
		e.address, e.expected.Type(), ssh.FingerprintSHA256(e.expected), e.seen.Type(), ssh.FingerprintSHA256(e.seen))
}

// pinHostKey makes config accept the endpoint's host key alone; without one, any.
func pinHostKey(config *ssh.ClientConfig, e endpoint) error {
	if e.hostKey == "" {
		config.HostKeyCallback = ssh.InsecureIgnoreHostKey() //nolint:gosec // what the package documents
		return nil
	}
	expected, _, _, _, err := ssh.ParseAuthorizedKey([]byte(e.hostKey))
	if err != nil {
		return fmt.Errorf("connection to %s: hostKey must be a public key as in authorized_keys, "+
			`for example "ssh-ed25519 AAAA…": %w`, e.host, err)
	}
	config.HostKeyCallback = func(_ string, _ net.Addr, seen ssh.PublicKey) error {
		if !bytes.Equal(seen.Marshal(), expected.Marshal()) {
			return &hostKeyError{address: e.address(), expected: expected, seen: seen}
		}
		return nil
	}
	// A server has keys of several types and shows the one that the client likes best. The others stay on the list,
	// so that a server without the pinned type still shows a key that the error can name.
	preferred := []string{expected.Type()}
	if expected.Type() == ssh.KeyAlgoRSA {
		preferred = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA}
	}
	config.HostKeyAlgorithms = append(preferred, ssh.SupportedAlgorithms().HostKeys...)
	return nil
}
