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

// outputGrace is the time for which output is still read after a cancelled command was killed. A process that left the
// process group may keep the pipe open forever.
const outputGrace = time.Second

// The variables that contain the output of the previous run.
const (
	previousStdout = "PULUMI_COMMAND_STDOUT"
	previousStderr = "PULUMI_COMMAND_STDERR"
)

// defaultInterpreter runs a command without an interpreter input.
var defaultInterpreter = []string{"/bin/sh", "-c"}

// run runs a command, with the previous output in its environment unless the inputs disable that. If ctx is cancelled,
// all processes in the command's process group are killed immediately.
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
		// Without this check, the error for a missing folder would name the interpreter.
		if info, err := os.Stat(*in.Dir); err != nil || !info.IsDir() {
			return Outputs{}, fmt.Errorf("dir: %s is not a folder, so the command cannot run in it", *in.Dir)
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

// environment returns the plugin's environment with the previous output and then the user's variables added.
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

// value returns an optional string, or "" if it is nil.
func value(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}
