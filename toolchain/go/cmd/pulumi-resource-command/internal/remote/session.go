package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	provider "github.com/pulumi/pulumi-go-provider"
	"golang.org/x/crypto/ssh"

	"hardway/toolchain/cmd/pulumi-resource-command/internal/output"
)

// The variables that contain the output of the previous run.
const (
	previousStdout = "PULUMI_COMMAND_STDOUT"
	previousStderr = "PULUMI_COMMAND_STDERR"
)

// signalGrace is the time in which the server can deliver the signal to a cancelled command.
const signalGrace = 2 * time.Second

// run runs a command on the machine. If ctx is cancelled, it sends the command a signal and closes the connection.
func run(ctx context.Context, in CommandInputs, command string, previous Outputs) (Outputs, error) {
	// The connection must outlive ctx until the signal is sent.
	connectionCtx, closeConnection := context.WithCancelCause(context.WithoutCancel(ctx))
	defer closeConnection(nil)
	stopDialing := context.AfterFunc(ctx, func() { closeConnection(context.Cause(ctx)) })
	connection, err := dial(connectionCtx, &in.Connection)
	if err != nil {
		return Outputs{}, err
	}
	defer connection.Close()
	session, err := connection.NewSession()
	if err != nil {
		return Outputs{}, connection.lost(err, "before the command was started")
	}
	defer session.Close() //nolint:errcheck // an ended session is closed already
	if err := setEnvironment(ctx, session, connection, in, previous); err != nil {
		return Outputs{}, err
	}
	captured := output.NewCapture(ctx, string(or(in.Logging, "")))
	session.Stdout, session.Stderr = captured.Stdout(), captured.Stderr()
	if err := feedStdin(session, in.Stdin); err != nil {
		return Outputs{}, connection.lost(err, "before the command was started")
	}
	if err := session.Start(command); err != nil {
		return Outputs{}, connection.lost(err, "while the command was started")
	}
	if stopDialing() {
		defer context.AfterFunc(ctx, func() { cancelCommand(session, closeConnection, context.Cause(ctx)) })()
	}

	err = session.Wait()
	stdout, stderr := captured.Texts()
	outputs := Outputs{Stdout: stdout, Stderr: stderr}
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return outputs, nil
	case ctx.Err() != nil:
		err = fmt.Errorf("cancelled (%w)", context.Cause(ctx))
	case errors.As(err, &exit):
		err = fmt.Errorf("on %s: %s", connection.address, exitText(exit))
	default:
		err = connection.lost(err, "while the command ran: whether it finished is not known")
	}
	return outputs, fmt.Errorf("%w: running:\n%s\noutput:\n%s", err, command, captured.Combined())
}

// cancelCommand sends the command a signal, then ends the session and the connection. sshd delivers signals to the
// commands of every user except root, because it needs privilege separation for that. A command of root ends when it
// next writes.
func cancelCommand(session *ssh.Session, closeConnection context.CancelCauseFunc, cause error) {
	sent := make(chan struct{})
	go func() {
		_ = session.Signal(ssh.SIGTERM)
		_ = session.Close()
		close(sent)
	}()
	select {
	case <-sent:
	case <-time.After(signalGrace):
	}
	closeConnection(cause)
}

// exitText describes how the command ended.
func exitText(exit *ssh.ExitError) string {
	if exit.Signal() != "" {
		return fmt.Sprintf("the command was ended by signal %s", exit.Signal())
	}
	return fmt.Sprintf("the command exited with status %d", exit.ExitStatus())
}

// lost returns an error that names the machine and the moment at which the connection broke.
func (c *client) lost(err error, when string) error {
	if cause := c.aborted(); cause != nil {
		err = cause
	}
	return fmt.Errorf("the connection to %s was lost %s (%w)", c.address, when, err)
}

// setEnvironment sets the variables. The server must accept each variable of the inputs, but the command can run
// without those of the previous output.
func setEnvironment(
	ctx context.Context, session *ssh.Session, connection *client, in CommandInputs, previous Outputs,
) error {
	for _, name := range slices.Sorted(maps.Keys(in.Environment)) {
		if err := session.Setenv(name, in.Environment[name]); err != nil {
			if connection.aborted() != nil || errors.Is(err, io.EOF) {
				return connection.lost(err, "before the command was started")
			}
			return fmt.Errorf("the SSH server of %s refuses the environment variable %s: allow it with AcceptEnv in its "+
				"sshd_config, or set it in the command as in %s=value command", connection.address, name, name)
		}
	}
	if !or(in.AddPreviousOutputInEnv, true) {
		return nil
	}
	for name, value := range map[string]string{previousStdout: previous.Stdout, previousStderr: previous.Stderr} {
		if value == "" {
			continue
		}
		if err := session.Setenv(name, value); err != nil {
			provider.GetLogger(ctx).Warningf("the SSH server of %s refuses %s, so the command runs without it: allow "+
				"PULUMI_COMMAND_* with AcceptEnv in its sshd_config, or set addPreviousOutputInEnv to false",
				connection.address, name)
		}
	}
	return nil
}

// feedStdin sends the command its standard input. A command may end without reading all of it.
func feedStdin(session *ssh.Session, text *string) error {
	if text == nil {
		return nil
	}
	stdin, err := session.StdinPipe()
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(stdin, strings.NewReader(*text))
		_ = stdin.Close()
	}()
	return nil
}
