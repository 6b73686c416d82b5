package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pulumi/pulumi/sdk/v3"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/pulumi/pulumi/sdk/v3/python/toolchain"
	"google.golang.org/protobuf/types/known/emptypb"
)

const (
	// exitedAfterShowingError is the executor's exit code after it has shown the error to the user.
	exitedAfterShowingError = 32
	// terminationGrace is the time in which a cancelled program can end by itself.
	terminationGrace = 5 * time.Second
)

//go:embed required_packages.py
var requiredPackagesProgram string

// languageHost serves programs written in Python.
type languageHost struct {
	pulumirpc.UnimplementedLanguageRuntimeServer

	ctx      context.Context // ends when the engine cancels or has ended
	cancel   context.CancelFunc
	engine   string // the engine's RPC address
	executor string // path of pulumi-language-python-exec
}

func newLanguageHost(ctx context.Context, engine, executor string) *languageHost {
	ctx, cancel := context.WithCancel(ctx)
	return &languageHost{ctx: ctx, cancel: cancel, engine: engine, executor: executor}
}

// Handshake accepts the engine's address, which is newer than the one on the command line.
func (h *languageHost) Handshake(
	_ context.Context, req *pulumirpc.LanguageHandshakeRequest,
) (*pulumirpc.LanguageHandshakeResponse, error) {
	h.engine = req.GetEngineAddress()
	return &pulumirpc.LanguageHandshakeResponse{}, nil
}

// GetPluginInfo announces the version of the SDK that the host is made from.
func (h *languageHost) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: sdk.Version.String()}, nil
}

// Cancel ends the running program.
func (h *languageHost) Cancel(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	h.cancel()
	return &emptypb.Empty{}, nil
}

// GetRequiredPackages lists the plugins that the installed packages require in their pulumi-plugin.json.
func (h *languageHost) GetRequiredPackages(
	ctx context.Context, req *pulumirpc.GetRequiredPackagesRequest,
) (*pulumirpc.GetRequiredPackagesResponse, error) {
	tools, _, err := resolve(req.GetInfo())
	if err != nil {
		return nil, err
	}
	if err := tools.ValidateVenv(ctx); err != nil {
		return nil, err
	}
	cmd, err := tools.Command(ctx, "-c", requiredPackagesProgram)
	if err != nil {
		return nil, err
	}
	// Run outside the program's folder, because `python -c` searches the current folder first.
	cmd.Dir = os.TempDir()
	output, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the installed Pulumi packages: %w", withStderr(err))
	}
	return parseRequiredPackages(output)
}

// parseRequiredPackages converts a JSON list of pulumi-plugin.json documents to the engine's form.
func parseRequiredPackages(documents []byte) (*pulumirpc.GetRequiredPackagesResponse, error) {
	var plugins []struct {
		Resource         bool
		Name             string
		Version          string
		Server           string
		Parameterization *struct {
			Name, Version string
			Value         []byte
		}
	}
	if err := json.Unmarshal(documents, &plugins); err != nil {
		return nil, fmt.Errorf("reading the installed packages' pulumi-plugin.json: %w", err)
	}
	response := &pulumirpc.GetRequiredPackagesResponse{}
	for _, plugin := range plugins {
		if !plugin.Resource {
			continue
		}
		dependency := &pulumirpc.PackageDependency{
			Name: plugin.Name, Kind: "resource", Version: plugin.Version, Server: plugin.Server,
		}
		if p := plugin.Parameterization; p != nil {
			dependency.Parameterization = &pulumirpc.PackageParameterization{
				Name: p.Name, Version: p.Version, Value: p.Value,
			}
		}
		response.Packages = append(response.Packages, dependency)
	}
	return response, nil
}

// Run runs the program. The response reports a program that fails. An error means that the host could not run it.
func (h *languageHost) Run(ctx context.Context, req *pulumirpc.RunRequest) (*pulumirpc.RunResponse, error) {
	if req.GetAttachDebugger() {
		return nil, errors.New("attaching a debugger is not supported by this language host")
	}
	tools, options, err := resolve(req.GetInfo())
	if err != nil {
		return nil, err
	}
	if err := tools.ValidateVenv(ctx); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(h.ctx, stop)()

	if response, err := typecheck(ctx, tools, options, req.GetPwd()); response != nil || err != nil {
		return response, err
	}
	cmd, err := tools.Command(ctx, h.programArguments(req)...)
	if err != nil {
		return nil, err
	}
	environment, err := configEnvironment(req)
	if err != nil {
		return nil, err
	}
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, environment...)
	cmd.Dir = req.GetPwd()
	err = runProgram(cmd)
	if h.ctx.Err() != nil {
		// The engine needs no report, because it has cancelled the run.
		return &pulumirpc.RunResponse{Bail: true}, nil
	}
	return programResponse(err)
}

// programArguments returns the executor and its arguments for one run.
func (h *languageHost) programArguments(req *pulumirpc.RunRequest) []string {
	arguments := []string{
		"-u", h.executor,
		"--monitor", req.GetMonitorAddress(),
		"--engine", h.engine,
		"--project", req.GetProject(),
		"--stack", req.GetStack(),
		"--organization", req.GetOrganization(),
		"--root_directory", req.GetInfo().GetRootDirectory(),
		"--pwd", req.GetPwd(),
		"--dry_run", strconv.FormatBool(req.GetDryRun()),
		"--parallel", strconv.Itoa(int(req.GetParallel())),
	}
	program := req.GetInfo().GetEntryPoint()
	if program == "" {
		program = "."
	}
	return append(append(arguments, program), req.GetArgs()...)
}

// configEnvironment returns the variables from which the SDK reads its configuration.
func configEnvironment(req *pulumirpc.RunRequest) ([]string, error) {
	// Without any configuration these are nil, which JSON encodes as null. The SDK requires {} and [].
	config, secretKeys := req.GetConfig(), req.GetConfigSecretKeys()
	if config == nil {
		config = map[string]string{}
	}
	if secretKeys == nil {
		secretKeys = []string{}
	}
	configJSON, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	secretKeysJSON, err := json.Marshal(secretKeys)
	if err != nil {
		return nil, err
	}
	return []string{
		"PULUMI_CONFIG=" + string(configJSON),
		"PULUMI_CONFIG_SECRET_KEYS=" + string(secretKeysJSON),
	}, nil
}

// runProgram runs cmd and passes its output on to the engine. A cancelled program receives a signal on which Python
// ends without a stack trace. It is killed if it does not end.
func runProgram(cmd *exec.Cmd) error {
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = terminationGrace
	return cmd.Run()
}

// programResponse returns the response for a program that has ended.
func programResponse(err error) (*pulumirpc.RunResponse, error) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return &pulumirpc.RunResponse{}, nil
	case errors.As(err, &exit) && exit.ExitCode() == exitedAfterShowingError:
		return &pulumirpc.RunResponse{Bail: true}, nil
	case errors.As(err, &exit) && exit.Exited():
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("Program exited with non-zero exit code: %d", exit.ExitCode())}, nil
	case errors.As(err, &exit):
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("Program ended by %v", exit.ProcessState)}, nil
	default:
		return nil, fmt.Errorf("running the program: %w", err)
	}
}

// typecheck runs the type checker that Pulumi.yaml configures. A program with type errors does not run, and the
// response reports them.
func typecheck(
	ctx context.Context, tools toolchain.Toolchain, options toolchain.PythonOptions, pwd string,
) (*pulumirpc.RunResponse, error) {
	if options.Typechecker == toolchain.TypeCheckerNone {
		return nil, nil
	}
	name := strings.ToLower(toolchain.TypeCheckerName(options.Typechecker))
	cmd, err := tools.ModuleCommand(ctx, name, ".")
	if err != nil {
		return nil, err
	}
	cmd.Dir = pwd
	err = runProgram(cmd)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &pulumirpc.RunResponse{Error: name + " found errors, or is not installed in the virtual environment"}, nil
	}
	return nil, err
}

// InstallDependencies creates the virtual environment and installs the project's dependencies.
func (h *languageHost) InstallDependencies(
	req *pulumirpc.InstallDependenciesRequest, server pulumirpc.LanguageRuntime_InstallDependenciesServer,
) error {
	closer, stdout, stderr, err := rpcutil.MakeInstallDependenciesStreams(server, req.GetIsTerminal())
	if err != nil {
		return err
	}
	defer closer.Close() //nolint:errcheck // the second close is for early returns
	tools, _, err := resolve(req.GetInfo())
	if err != nil {
		return err
	}
	if _, err := io.WriteString(stdout, "Installing dependencies...\n\n"); err != nil {
		return err
	}
	err = tools.InstallDependencies(
		server.Context(), req.GetInfo().GetProgramDirectory(), req.GetUseLanguageVersionTools(), true, stdout, stderr)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(stdout, "Finished installing dependencies\n\n"); err != nil {
		return err
	}
	return closer.Close()
}

// GetProgramDependencies lists the installed Python packages; `pulumi about` shows them.
func (h *languageHost) GetProgramDependencies(
	ctx context.Context, req *pulumirpc.GetProgramDependenciesRequest,
) (*pulumirpc.GetProgramDependenciesResponse, error) {
	tools, _, err := resolve(req.GetInfo())
	if err != nil {
		return nil, err
	}
	if err := tools.ValidateVenv(ctx); err != nil {
		return nil, err
	}
	packages, err := tools.ListPackages(ctx, req.GetTransitiveDependencies())
	if err != nil {
		return nil, err
	}
	response := &pulumirpc.GetProgramDependenciesResponse{}
	for _, p := range packages {
		response.Dependencies = append(response.Dependencies, &pulumirpc.DependencyInfo{Name: p.Name, Version: p.Version})
	}
	return response, nil
}

// About returns the Python that runs the program.
func (h *languageHost) About(ctx context.Context, req *pulumirpc.AboutRequest) (*pulumirpc.AboutResponse, error) {
	tools, options, err := resolve(req.GetInfo())
	if err != nil {
		return nil, err
	}
	info, err := tools.About(ctx)
	if err != nil {
		return nil, err
	}
	return &pulumirpc.AboutResponse{
		Executable: info.PythonExecutable,
		Version:    info.PythonVersion.String(),
		Metadata: map[string]string{
			"toolchain":        strings.ToLower(toolchain.Name(options.Toolchain)),
			"toolchainVersion": info.ToolchainVersion.String(),
		},
	}, nil
}

// RuntimeOptionsPrompts returns no prompts.
func (h *languageHost) RuntimeOptionsPrompts(
	context.Context, *pulumirpc.RuntimeOptionsRequest,
) (*pulumirpc.RuntimeOptionsResponse, error) {
	return &pulumirpc.RuntimeOptionsResponse{}, nil
}

// withStderr adds the standard error of the failed process to err.
func withStderr(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return err
}
