package remote

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// clientConfig returns the configuration to log in at the endpoint. The private key is tried first, then the keys of
// the agent, then the password. close ends the connection to the agent.
func clientConfig(e endpoint) (config *ssh.ClientConfig, close func(), err error) {
	config = &ssh.ClientConfig{User: e.user}
	close = func() {}
	if err := pinHostKey(config, e); err != nil {
		return nil, close, err
	}
	var signers []ssh.Signer
	if e.privateKey != "" {
		signer, err := parsePrivateKey(e)
		if err != nil {
			return nil, close, err
		}
		signers = append(signers, signer)
	}
	agentSigners, close, err := dialAgent(e)
	if err != nil {
		return nil, close, err
	}
	if len(signers) > 0 || agentSigners != nil {
		// All keys are in one method, because the client tries only the first of two methods with the same name.
		config.Auth = append(config.Auth, ssh.PublicKeysCallback(func() ([]ssh.Signer, error) {
			if agentSigners == nil {
				return signers, nil
			}
			more, err := agentSigners()
			if err != nil && len(signers) == 0 {
				return nil, fmt.Errorf("reading the keys of the SSH agent: %w", err)
			}
			return append(signers, more...), nil
		}))
	}
	if e.password != "" {
		config.Auth = append(config.Auth, ssh.Password(e.password), ssh.KeyboardInteractive(
			func(_, _ string, questions []string, _ []bool) ([]string, error) {
				answers := make([]string, len(questions))
				for i := range answers {
					answers[i] = e.password
				}
				return answers, nil
			}))
	}
	return config, close, nil
}

func parsePrivateKey(e endpoint) (ssh.Signer, error) {
	var signer ssh.Signer
	var err error
	if e.privateKeyPassword == "" {
		signer, err = ssh.ParsePrivateKey([]byte(e.privateKey))
	} else {
		signer, err = ssh.ParsePrivateKeyWithPassphrase([]byte(e.privateKey), []byte(e.privateKeyPassword))
	}
	if err != nil {
		return nil, fmt.Errorf("connection to %s: cannot read privateKey: %w", e.host, err)
	}
	return signer, nil
}

// dialAgent returns the keys of the SSH agent that the endpoint or SSH_AUTH_SOCK names, or nil if neither does. An
// unreachable agent is an error only if the endpoint names it.
func dialAgent(e endpoint) (signers func() ([]ssh.Signer, error), close func(), err error) {
	close = func() {}
	path := e.agentSocketPath
	if path == "" {
		path = os.Getenv("SSH_AUTH_SOCK")
	}
	if path == "" {
		return nil, close, nil
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		if e.agentSocketPath == "" {
			return nil, close, nil
		}
		return nil, close, fmt.Errorf("connection to %s: cannot reach the SSH agent at agentSocketPath: %w", e.host, err)
	}
	return agent.NewClient(conn).Signers, func() { _ = conn.Close() }, nil
}
