// Package local runs commands on this machine: the resource Command and the function run.
package local

import (
	"context"

	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi-go-provider/infer/types"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"hardway/toolchain/cmd/pulumi-resource-command/internal/output"
)

// Logging selects the output streams that are logged.
type Logging string

// Values implements infer.Enum.
func (Logging) Values() []infer.EnumValue[Logging] {
	return []infer.EnumValue[Logging]{
		{Name: "Stdout", Value: output.LogStdout, Description: "Capture stdout in logs but not stderr"},
		{Name: "Stderr", Value: output.LogStderr, Description: "Capture stderr in logs but not stdout"},
		{Name: "StdoutAndStderr", Value: output.LogStdoutAndStderr, Description: "Capture stdout and stderr in logs"},
		{Name: "None", Value: output.LogNone, Description: "Capture no logs"},
	}
}

// ProcessInputs are the inputs that Command and Run share.
type ProcessInputs struct {
	Interpreter            []string          `pulumi:"interpreter,optional"`
	Dir                    *string           `pulumi:"dir,optional"`
	Environment            map[string]string `pulumi:"environment,optional"`
	Stdin                  *string           `pulumi:"stdin,optional"`
	Logging                *Logging          `pulumi:"logging,optional"`
	AddPreviousOutputInEnv *bool             `pulumi:"addPreviousOutputInEnv,optional"`
	AssetPaths             []string          `pulumi:"assetPaths,optional"`
	ArchivePaths           []string          `pulumi:"archivePaths,optional"`
}

// Annotate describes the inputs.
func (in *ProcessInputs) Annotate(a infer.Annotator) {
	a.Describe(&in.Interpreter, `The program and arguments to run the command; ["/bin/sh", "-c"] unless given.`)
	a.Describe(&in.Dir, "The folder to run the command in. It must exist.")
	a.Describe(&in.Environment, "Additional environment variables for the command.")
	a.Describe(&in.Stdin, "The command's standard input.")
	a.Describe(&in.Logging, "Which of the command's streams are logged; both unless given.")
	a.Describe(&in.AddPreviousOutputInEnv,
		"Whether the command sees the output of the run before in PULUMI_COMMAND_STDOUT and PULUMI_COMMAND_STDERR; it does unless this is false.")
	a.Describe(&in.AssetPaths, "Globs of the files to return as assets once the command has run.")
	a.Describe(&in.ArchivePaths, "Globs of the files to return as one archive once the command has run.")
}

// Outputs are the results of a command.
type Outputs struct {
	Stdout  string                           `pulumi:"stdout"`
	Stderr  string                           `pulumi:"stderr"`
	Assets  *map[string]types.AssetOrArchive `pulumi:"assets,optional"`
	Archive *resource.Archive                `pulumi:"archive,optional"`
}

// Annotate describes the outputs.
func (out *Outputs) Annotate(a infer.Annotator) {
	a.Describe(&out.Stdout, "The command's standard output, without its last line break.")
	a.Describe(&out.Stderr, "The command's standard error, without its last line break.")
	a.Describe(&out.Assets, "The files that assetPaths selects, by path.")
	a.Describe(&out.Archive, "The files that archivePaths selects.")
}

// Command runs a command on this machine when the resource is created, updated or deleted.
type Command struct{}

// Annotate describes the resource.
func (c *Command) Annotate(a infer.Annotator) {
	a.Describe(c, "A command that runs on this machine.")
}

// CommandInputs are the inputs of Command.
type CommandInputs struct {
	ProcessInputs
	Triggers []any   `pulumi:"triggers,optional" provider:"replaceOnChanges"`
	Create   *string `pulumi:"create,optional"`
	Update   *string `pulumi:"update,optional"`
	Delete   *string `pulumi:"delete,optional"`
}

// Annotate describes the inputs.
func (in *CommandInputs) Annotate(a infer.Annotator) {
	a.Describe(&in.Triggers, "Values of any type: when one changes, the resource is replaced.")
	a.Describe(&in.Create, "The command to run when the resource is created, and when an input changes and there is no update.")
	a.Describe(&in.Update, "The command to run when an input changes.")
	a.Describe(&in.Delete, "The command to run when the resource is deleted or replaced.")
}

// CommandState is the state of Command.
type CommandState struct {
	CommandInputs
	Outputs
}

// WireDependencies declares the dependencies of the outputs. Any changed input runs the command again, and its output
// is secret if one of its inputs is.
func (Command) WireDependencies(f infer.FieldSelector, in *CommandInputs, out *CommandState) {
	all := f.InputField(in).Computed()
	given := []infer.InputField{
		f.InputField(&in.Create).Secret(), f.InputField(&in.Update).Secret(),
		f.InputField(&in.Stdin).Secret(), f.InputField(&in.Environment).Secret(),
		f.InputField(&in.Interpreter).Secret(),
	}
	for _, field := range []any{&out.Stdout, &out.Stderr, &out.Assets, &out.Archive} {
		f.OutputField(field).DependsOn(append(given, all)...)
	}
}

// Create runs the create command.
func (Command) Create(
	ctx context.Context, req infer.CreateRequest[CommandInputs],
) (infer.CreateResponse[CommandState], error) {
	id, err := resource.NewUniqueHex(req.Name, 8, 0)
	if err != nil {
		return infer.CreateResponse[CommandState]{}, err
	}
	state := CommandState{CommandInputs: req.Inputs}
	if !req.DryRun && req.Inputs.Create != nil {
		state.Outputs, err = run(ctx, req.Inputs.ProcessInputs, *req.Inputs.Create, Outputs{})
	}
	return infer.CreateResponse[CommandState]{ID: id, Output: state}, err
}

// Update runs the update command, or the create command if there is no update command.
func (Command) Update(
	ctx context.Context, req infer.UpdateRequest[CommandInputs, CommandState],
) (infer.UpdateResponse[CommandState], error) {
	state := CommandState{CommandInputs: req.Inputs, Outputs: req.State.Outputs}
	command := req.Inputs.Update
	if command == nil {
		command = req.Inputs.Create
	}
	var err error
	if !req.DryRun && command != nil {
		state.Outputs, err = run(ctx, req.Inputs.ProcessInputs, *command, req.State.Outputs)
	}
	return infer.UpdateResponse[CommandState]{Output: state}, err
}

// Delete runs the delete command.
func (Command) Delete(
	ctx context.Context, req infer.DeleteRequest[CommandState],
) (infer.DeleteResponse, error) {
	if req.State.Delete == nil {
		return infer.DeleteResponse{}, nil
	}
	_, err := run(ctx, req.State.ProcessInputs, *req.State.Delete, req.State.Outputs)
	return infer.DeleteResponse{}, err
}

// Run is the function run: a command that runs each time the program runs.
type Run struct{}

// Annotate describes the function.
func (r *Run) Annotate(a infer.Annotator) {
	a.Describe(r, "Runs a command on this machine each time the program runs.")
}

// RunInputs are the arguments of Run.
type RunInputs struct {
	ProcessInputs
	Command string `pulumi:"command"`
}

// Annotate describes the arguments.
func (in *RunInputs) Annotate(a infer.Annotator) {
	a.Describe(&in.Command, "The command to run.")
}

// RunResult is the result of Run.
type RunResult struct {
	RunInputs
	Outputs
}

// Invoke runs the command.
func (Run) Invoke(
	ctx context.Context, req infer.FunctionRequest[RunInputs],
) (infer.FunctionResponse[RunResult], error) {
	outputs, err := run(ctx, req.Input.ProcessInputs, req.Input.Command, Outputs{})
	return infer.FunctionResponse[RunResult]{Output: RunResult{RunInputs: req.Input, Outputs: outputs}}, err
}
