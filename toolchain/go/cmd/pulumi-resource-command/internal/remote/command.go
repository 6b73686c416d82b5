package remote

import (
	"context"

	"github.com/pulumi/pulumi-go-provider/infer"
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

// Command runs a command on another machine when the resource is created, updated or deleted.
type Command struct{}

// Annotate describes the resource.
func (c *Command) Annotate(a infer.Annotator) {
	a.Describe(c, "A command that runs on another machine, through SSH.")
}

// CommandInputs are the inputs of Command.
type CommandInputs struct {
	Connection             Connection        `pulumi:"connection" provider:"secret"`
	Environment            map[string]string `pulumi:"environment,optional"`
	Triggers               []any             `pulumi:"triggers,optional" provider:"replaceOnChanges"`
	Create                 *string           `pulumi:"create,optional"`
	Update                 *string           `pulumi:"update,optional"`
	Delete                 *string           `pulumi:"delete,optional"`
	Stdin                  *string           `pulumi:"stdin,optional"`
	Logging                *Logging          `pulumi:"logging,optional"`
	AddPreviousOutputInEnv *bool             `pulumi:"addPreviousOutputInEnv,optional"`
}

// Annotate describes the inputs.
func (in *CommandInputs) Annotate(a infer.Annotator) {
	a.Describe(&in.Connection, "How to connect to the machine.")
	a.Describe(&in.Environment,
		"Additional environment variables for the command. The machine's SSH server must accept them (AcceptEnv).")
	a.Describe(&in.Triggers, "Values of any type: when one changes, the resource is replaced.")
	a.Describe(&in.Create, "The command to run when the resource is created, and when an input changes and there is no update.")
	a.Describe(&in.Update, "The command to run when an input changes.")
	a.Describe(&in.Delete, "The command to run when the resource is deleted or replaced.")
	a.Describe(&in.Stdin, "The command's standard input.")
	a.Describe(&in.Logging, "Which of the command's streams are logged; both unless given.")
	a.Describe(&in.AddPreviousOutputInEnv,
		"Whether the command sees the output of the run before in PULUMI_COMMAND_STDOUT and PULUMI_COMMAND_STDERR; it does unless this is false.")
}

// Outputs are the results of a command.
type Outputs struct {
	Stdout string `pulumi:"stdout"`
	Stderr string `pulumi:"stderr"`
}

// Annotate describes the outputs.
func (out *Outputs) Annotate(a infer.Annotator) {
	a.Describe(&out.Stdout, "The command's standard output, without its last line break.")
	a.Describe(&out.Stderr, "The command's standard error, without its last line break.")
}

// CommandState is the state of Command.
type CommandState struct {
	CommandInputs
	Outputs
}

// WireDependencies declares the dependencies of the outputs. Any changed input runs the command again, and its output
// is secret if one of its inputs is. The connection is always secret, but the command does not receive it.
func (Command) WireDependencies(f infer.FieldSelector, in *CommandInputs, out *CommandState) {
	all := f.InputField(in).Computed()
	given := []infer.InputField{
		f.InputField(&in.Create).Secret(), f.InputField(&in.Update).Secret(),
		f.InputField(&in.Stdin).Secret(), f.InputField(&in.Environment).Secret(),
	}
	for _, field := range []any{&out.Stdout, &out.Stderr} {
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
		state.Outputs, err = run(ctx, req.Inputs, *req.Inputs.Create, Outputs{})
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
		state.Outputs, err = run(ctx, req.Inputs, *command, req.State.Outputs)
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
	_, err := run(ctx, req.State.CommandInputs, *req.State.Delete, req.State.Outputs)
	return infer.DeleteResponse{}, err
}
