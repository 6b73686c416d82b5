package main

import (
	"fmt"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/pulumi/pulumi/sdk/v3/python/toolchain"
)

// pythonOptions reads `runtime.options` of Pulumi.yaml: virtualenv, toolchain and typechecker.
func pythonOptions(info *pulumirpc.ProgramInfo) (toolchain.PythonOptions, error) {
	options := toolchain.PythonOptions{
		Root:       info.GetRootDirectory(),
		ProgramDir: info.GetProgramDirectory(),
	}
	for name, value := range info.GetOptions().AsMap() {
		text, isText := value.(string)
		if !isText {
			return options, fmt.Errorf("runtime option %q in Pulumi.yaml must be a string, not %v", name, value)
		}
		switch {
		case name == "virtualenv":
			options.Virtualenv = text
		case name == "toolchain" && text == "pip":
			options.Toolchain = toolchain.Pip
		case name == "toolchain" && text == "poetry":
			options.Toolchain = toolchain.Poetry
		case name == "toolchain" && text == "uv":
			options.Toolchain = toolchain.Uv
		case name == "toolchain":
			return options, fmt.Errorf("runtime option toolchain in Pulumi.yaml is %q; allowed: pip, poetry, uv", text)
		case name == "typechecker" && text == "mypy":
			options.Typechecker = toolchain.TypeCheckerMypy
		case name == "typechecker" && text == "pyright":
			options.Typechecker = toolchain.TypeCheckerPyright
		case name == "typechecker" && text == "none":
			options.Typechecker = toolchain.TypeCheckerNone
		case name == "typechecker":
			return options, fmt.Errorf("runtime option typechecker in Pulumi.yaml is %q; allowed: mypy, pyright, none", text)
		default:
			return options, fmt.Errorf(
				"unknown runtime option %q in Pulumi.yaml; allowed: virtualenv, toolchain, typechecker", name)
		}
	}
	return options, nil
}

// resolve returns the toolchain (pip, uv or poetry) of the program that info describes.
func resolve(info *pulumirpc.ProgramInfo) (toolchain.Toolchain, toolchain.PythonOptions, error) {
	options, err := pythonOptions(info)
	if err != nil {
		return nil, options, err
	}
	tools, err := toolchain.ResolveToolchain(options)
	return tools, options, err
}
