package remote

import (
	"bytes"
	"fmt"
	"net"

	"golang.org/x/crypto/ssh"
)

// hostKeyError means that a server has another host key than the pinned one. Another attempt would not help.
type hostKeyError struct {
	address        string
	expected, seen ssh.PublicKey
}

func (e *hostKeyError) Error() string {
	return fmt.Sprintf("the host key of %s is not the expected one: expected %s %s, seen %s %s. "+
		"Either another machine answers at this address, or the machine was recreated",
		e.address, e.expected.Type(), ssh.FingerprintSHA256(e.expected), e.seen.Type(), ssh.FingerprintSHA256(e.seen))
}

// pinHostKey makes config accept only the endpoint's host key, or any key if the endpoint has none.
func pinHostKey(config *ssh.ClientConfig, e endpoint) error {
	if e.hostKey == "" {
		config.HostKeyCallback = ssh.InsecureIgnoreHostKey() //nolint:gosec // the package documents this
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
	// A server with keys of several types shows the one that the client prefers. The other types stay in the list, so
	// that a server without the pinned type still shows a key for the error.
	preferred := []string{expected.Type()}
	if expected.Type() == ssh.KeyAlgoRSA {
		preferred = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA}
	}
	config.HostKeyAlgorithms = append(preferred, ssh.SupportedAlgorithms().HostKeys...)
	return nil
}
