package remote

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// clientConfig returns how to log in at the endpoint. Keys go before the password: first the private key, then those
// of the agent. close ends the conversation with the agent.
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
		// One method for all keys: of two methods of the same name only the first is tried.
		config.Auth = append(config.Auth, ssh.PublicKeysCallback(func() ([]ssh.Signer, error) {
			if agentSigners == nil {
				return signers, nil
			}
			more, err := agentSigners()
			if err != nil && len(signers) == 0 {
				return nil, fmt.Errorf("asking the SSH agent for its keys: %w", err)
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

// dialAgent returns the keys of the agent that the endpoint names, or that SSH_AUTH_SOCK does; nil where neither is
// there. An agent that is named and does not answer is an error, one that merely happened to run is not.
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
