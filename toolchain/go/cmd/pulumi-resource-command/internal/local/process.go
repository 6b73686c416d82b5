package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"hardway/toolchain/cmd/pulumi-resource-command/internal/output"
)

// outputGrace is how long output is still read after a cancelled command was killed. A process that left its group
// may hold the pipe open for ever.
const outputGrace = time.Second

// The variables through which a command sees the output of the run before.
const (
	previousStdout = "PULUMI_COMMAND_STDOUT"
	previousStderr = "PULUMI_COMMAND_STDERR"
)

// defaultInterpreter runs a command where no other interpreter is given.
var defaultInterpreter = []string{"/bin/sh", "-c"}

// run runs command as the inputs say, with the previous output in its environment unless that is switched off.
// Cancelled, the command and everything in its process group is killed at once.
func run(ctx context.Context, in ProcessInputs, command string, previous Outputs) (Outputs, error) {
	argv := append(slices.Clone(defaultInterpreter), command)
	if len(in.Interpreter) > 0 {
		argv = append(slices.Clone(in.Interpreter), command)
	}
	logging := ""
	if in.Logging != nil {
		logging = string(*in.Logging)
	}
	if in.Dir != nil {
		// Without this, a missing folder reads as a missing interpreter.
		if info, err := os.Stat(*in.Dir); err != nil || !info.IsDir() {
			return Outputs{}, fmt.Errorf("dir: %s is not a folder to run the command in", *in.Dir)
		}
	}
	captured := output.NewCapture(ctx, logging)

	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = value(in.Dir)
	cmd.Env = environment(in, previous)
	if in.Stdin != nil {
		cmd.Stdin = strings.NewReader(*in.Stdin)
	}
	cmd.Stdout, cmd.Stderr = captured.Stdout(), captured.Stderr()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = outputGrace

	err := cmd.Run()
	stdout, stderr := captured.Texts()
	outputs := Outputs{Stdout: stdout, Stderr: stderr}
	switch {
	case ctx.Err() != nil:
		return outputs, fmt.Errorf("cancelled (%w) while running:\n%s\noutput:\n%s", context.Cause(ctx), command, captured.Combined())
	case isExit(err):
		return outputs, fmt.Errorf("%w: running:\n%s\noutput:\n%s", err, command, captured.Combined())
	case err != nil:
		return outputs, fmt.Errorf("cannot run %s: %w", argv[0], err)
	}
	return outputs, collectFiles(in, &outputs)
}

// environment returns the plugin's own environment, overlaid with the previous output and then with what the user set.
func environment(in ProcessInputs, previous Outputs) []string {
	environ := os.Environ()
	if in.AddPreviousOutputInEnv == nil || *in.AddPreviousOutputInEnv {
		environ = append(environ, previousStdout+"="+previous.Stdout, previousStderr+"="+previous.Stderr)
	}
	for name, value := range in.Environment {
		environ = append(environ, name+"="+value)
	}
	return environ
}

func isExit(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit)
}

// value returns what an optional string points to.
func value(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}
