// Reads the configuration of a program out of the source of its Go modules: fields of structs, flags, feature gates.
//
// It type-checks the packages that `go list -deps -json` lists on its standard input, and compiles none of them: first
// only their declarations, and then the functions that the questions lead to. Each argument is one question:
//
//	struct:TAG:PACKAGE.TYPE   the fields of a struct, by their json or toml tags
//	plugins:PACKAGE           the fields of containerd's plugins: every plugin.Registration in packages below PACKAGE
//	flags:PACKAGE.FUNCTION    the flags that a function defines, and the functions that it passes a flag set to
//	texts:PACKAGE.VARIABLE    the texts in a list
//	gates:MINOR               the feature gates of Kubernetes, in the state of a minor version
//
// It prints one line per answer: the question, the path of the field or the name of the flag, and its kind.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strconv"
	"strings"
)

// listed is a package as `go list -json` describes it.
type listed struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
	ImportMap  map[string]string
}

// program holds the packages of a program.
type program struct {
	files    *token.FileSet
	listed   map[string]*listed
	declared map[string]*types.Package
	complete map[string]*checked
}

// checked is a package with the types of everything in its function bodies.
type checked struct {
	types  *types.Package
	syntax []*ast.File
	info   *types.Info
}

// importer resolves the imports of one package.
type importer struct {
	program *program
	from    *listed
}

func (i importer) Import(path string) (*types.Package, error) {
	if mapped, ok := i.from.ImportMap[path]; ok {
		path = mapped
	}
	return i.program.declarations(path)
}

// declarations returns a package with the types of its declarations only.
func (p *program) declarations(path string) (*types.Package, error) {
	if path == "unsafe" {
		return types.Unsafe, nil
	}
	if pkg, ok := p.declared[path]; ok {
		return pkg, nil
	}
	source, ok := p.listed[path]
	if !ok {
		return nil, fmt.Errorf("%s is not listed", path)
	}
	pkg, _, _ := p.check(source, true)
	p.declared[path] = pkg
	return pkg, nil
}

// bodies returns a package with the types of everything in it.
func (p *program) bodies(path string) *checked {
	if pkg, ok := p.complete[path]; ok {
		return pkg
	}
	source, ok := p.listed[path]
	if !ok {
		fail("%s is not listed", path)
	}
	pkg, syntax, info := p.check(source, false)
	result := &checked{pkg, syntax, info}
	p.complete[path] = result
	return result
}

func (p *program) check(source *listed, declarations bool) (*types.Package, []*ast.File, *types.Info) {
	var syntax []*ast.File
	for _, name := range source.GoFiles {
		file, err := parser.ParseFile(p.files, filepath.Join(source.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			fail("%v", err)
		}
		syntax = append(syntax, file)
	}
	info := &types.Info{
		Types:      map[ast.Expr]types.TypeAndValue{},
		Uses:       map[*ast.Ident]types.Object{},
		Defs:       map[*ast.Ident]types.Object{},
		Selections: map[*ast.SelectorExpr]*types.Selection{},
	}
	config := types.Config{
		Importer:         importer{p, source},
		IgnoreFuncBodies: declarations,
		FakeImportC:      true,
		Sizes:            types.SizesFor("gc", "amd64"),
		Error:            func(error) {}, // Packages with C code do not check completely. The answers do not depend on them.
	}
	if declarations {
		info = nil
	}
	pkg, _ := config.Check(source.ImportPath, p.files, syntax, info)
	return pkg, syntax, info
}

// field prints a type at a path, and everything below it.
func (p *program) field(print func(path, kind string), tag, path string, t types.Type, above []string) {
	t = types.Unalias(t)
	if pointer, ok := t.(*types.Pointer); ok {
		p.field(print, tag, path, pointer.Elem(), above)
		return
	}
	if named, ok := t.(*types.Named); ok {
		name := named.String()
		if kind, ok := wellKnown[name]; ok {
			print(path, kind)
			return
		}
		for _, outer := range above {
			if outer == name {
				print(path, "any")
				return
			}
		}
		if values := p.enumeration(named); len(values) > 0 {
			print(path, "enum("+strings.Join(values, "|")+")")
			return
		}
		above = append(above[:len(above):len(above)], name)
	}
	switch u := t.Underlying().(type) {
	case *types.Basic:
		print(path, u.Name())
	case *types.Slice:
		if basic, ok := u.Elem().Underlying().(*types.Basic); ok && basic.Kind() == types.Byte {
			print(path, "string")
			return
		}
		print(path, "list")
		p.field(print, tag, join(path, "[]"), u.Elem(), above)
	case *types.Map:
		print(path, "map")
		p.field(print, tag, join(path, "*"), u.Elem(), above)
	case *types.Struct:
		if path != "" {
			print(path, "object")
		}
		p.fields(print, tag, path, u, above)
	default:
		print(path, "any")
	}
}

func (p *program) fields(print func(path, kind string), tag, path string, u *types.Struct, above []string) {
	for i := 0; i < u.NumFields(); i++ {
		name, _, _ := strings.Cut(reflect.StructTag(u.Tag(i)).Get(tag), ",")
		field := u.Field(i)
		switch {
		case name == "-" || !field.Exported() && !field.Embedded():
		case name == "" && field.Embedded():
			if embedded, ok := types.Unalias(field.Type()).Underlying().(*types.Struct); ok {
				p.fields(print, tag, path, embedded, above)
			}
		case name == "":
			p.field(print, tag, join(path, field.Name()), field.Type(), above)
		default:
			p.field(print, tag, join(path, name), field.Type(), above)
		}
	}
}

// wellKnown has the kinds of types that have a text form.
var wellKnown = map[string]string{
	"k8s.io/apimachinery/pkg/apis/meta/v1.Duration":                 "duration",
	"k8s.io/apimachinery/pkg/apis/meta/v1.Time":                     "string",
	"k8s.io/apimachinery/pkg/api/resource.Quantity":                 "quantity",
	"k8s.io/apimachinery/pkg/api/resource.QuantityValue":            "quantity",
	"k8s.io/apimachinery/pkg/runtime.RawExtension":                  "any",
	"k8s.io/component-base/logs/api/v1.TimeOrMetaDuration":          "durationOrNanoseconds",
	"k8s.io/component-base/logs/api/v1.VModuleConfiguration":        "any",
	"github.com/containerd/containerd/v2/internal/tomlext.Duration": "duration",
	"github.com/containerd/containerd/v2/internal/tomlext.duration": "duration",
	"time.Duration": "nanoseconds",
}

// enumeration returns the constants of a named string type.
func (p *program) enumeration(named *types.Named) []string {
	basic, ok := named.Underlying().(*types.Basic)
	if !ok || basic.Info()&types.IsString == 0 || named.Obj().Pkg() == nil {
		return nil
	}
	seen := map[string]bool{}
	scope := named.Obj().Pkg().Scope()
	for _, name := range scope.Names() {
		if c, ok := scope.Lookup(name).(*types.Const); ok && types.Identical(c.Type(), named) {
			if text := constant.StringVal(c.Val()); text != "" {
				seen[text] = true
			}
		}
	}
	return sorted(seen)
}

// plugins prints the fields of every registered plugin below a package.
func (p *program) plugins(print func(path, kind string), below string) {
	for _, path := range sorted(p.listed) {
		if !strings.HasPrefix(path, below) || !contains(p.listed[path].Imports, "github.com/containerd/plugin") {
			continue
		}
		pkg := p.bodies(path)
		p.inspect(pkg, func(node ast.Node) {
			literal, ok := node.(*ast.CompositeLit)
			if !ok || !strings.HasSuffix(pkg.info.TypeOf(literal).String(), "containerd/plugin.Registration") {
				return
			}
			values := keyed(literal)
			kind, id := text(pkg, values["Type"]), text(pkg, values["ID"])
			if kind == "" || id == "" {
				warn("%s: a plugin without a constant name", p.files.Position(literal.Pos()))
				return
			}
			uri := kind + "." + id
			if values["Config"] == nil {
				print(uri, "any")
				return
			}
			p.field(print, "toml", uri, pkg.info.TypeOf(values["Config"]), nil)
		})
	}
}

// gates prints the feature gates of Kubernetes: "gate", or "true" or "false" if the gate is locked to that value.
func (p *program) gates(print func(path, kind string), minor int) {
	for _, path := range sorted(p.listed) {
		if !strings.Contains(path, "k8s.io/") && !strings.Contains(path, "go.etcd.io/") {
			continue
		}
		if !strings.Contains(path+strings.Join(p.listed[path].Imports, " "), "feature") {
			continue
		}
		pkg := p.bodies(path)
		p.inspect(pkg, func(node ast.Node) {
			literal, ok := node.(*ast.CompositeLit)
			if !ok {
				return
			}
			t, ok := pkg.info.TypeOf(literal).Underlying().(*types.Map)
			if !ok || !strings.HasSuffix(t.Key().String(), ".Feature") || !strings.Contains(t.Elem().String(), "Spec") {
				return
			}
			for _, element := range literal.Elts {
				pair := element.(*ast.KeyValueExpr)
				name := text(pkg, pair.Key)
				value, ok := pair.Value.(*ast.CompositeLit)
				if name == "" || !ok {
					warn("%s: a gate without constants", p.files.Position(pair.Pos()))
					continue
				}
				specs := []*ast.CompositeLit{value}
				if strings.HasSuffix(t.Elem().String(), "VersionedSpecs") {
					specs = nil
					for _, element := range value.Elts {
						specs = append(specs, element.(*ast.CompositeLit))
					}
				}
				kind := "gate"
				for _, spec := range specs {
					values := keyed(spec)
					if since := sinceMinor(pkg, values["Version"]); since > minor {
						continue
					}
					kind = "gate"
					if isTrue(pkg, values["LockToDefault"]) {
						kind = strconv.FormatBool(isTrue(pkg, values["Default"]))
					}
				}
				print(name, kind)
			}
		})
	}
}

// texts prints the constants in a list that a package declares.
func (p *program) texts(print func(path, kind string), path, variable string) {
	pkg := p.bodies(path)
	p.inspect(pkg, func(node ast.Node) {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || spec.Names[0].Name != variable {
			return
		}
		for _, element := range spec.Values[0].(*ast.CompositeLit).Elts {
			print(text(pkg, element), "text")
		}
	})
}

// sinceMinor returns the minor version in `version.MustParse("1.31")`, and 0 without one.
func sinceMinor(pkg *checked, value ast.Expr) int {
	call, ok := value.(*ast.CallExpr)
	if !ok {
		return 0
	}
	_, minor, _ := strings.Cut(text(pkg, call.Args[0]), ".")
	number, _ := strconv.Atoi(minor)
	return number
}

func isTrue(pkg *checked, value ast.Expr) bool {
	if value == nil {
		return false
	}
	v := pkg.info.Types[value].Value
	return v != nil && v.Kind() == constant.Bool && constant.BoolVal(v)
}

// flags prints the flags that a function defines.
//
// The names of some flags contain an argument of the function; arguments has those that are constant texts.
func (p *program) flags(print func(path, kind string), path, function string, arguments []string, seen map[string]bool) {
	key := fmt.Sprint(path, function, arguments)
	if seen[key] {
		return
	}
	seen[key] = true
	pkg := p.bodies(path)
	found := false
	for _, file := range pkg.syntax {
		for _, declaration := range file.Decls {
			f, ok := declaration.(*ast.FuncDecl)
			if !ok || f.Body == nil || functionName(pkg.info.Defs[f.Name]) != function {
				continue
			}
			found = true
			constants := map[types.Object]string{}
			parameters := pkg.info.Defs[f.Name].Type().(*types.Signature).Params()
			for i := 0; i < parameters.Len() && i < len(arguments); i++ {
				constants[parameters.At(i)] = arguments[i]
			}
			ast.Inspect(f.Body, func(node ast.Node) bool {
				if call, ok := node.(*ast.CallExpr); ok {
					p.call(print, pkg, call, constants, seen)
				}
				return true
			})
		}
	}
	if !found {
		warn("%s has no function %s", path, function)
	}
}

func (p *program) call(print func(path, kind string), pkg *checked, call *ast.CallExpr, constants map[types.Object]string, seen map[string]bool) {
	var name *ast.Ident
	switch f := ast.Unparen(call.Fun).(type) {
	case *ast.Ident:
		name = f
	case *ast.SelectorExpr:
		name = f.Sel
	default:
		return
	}
	callee, ok := pkg.info.Uses[name].(*types.Func)
	if !ok || callee.Pkg() == nil {
		return
	}
	signature := callee.Type().(*types.Signature)
	if receiver := signature.Recv(); receiver != nil && isFlagSet(receiver.Type(), "FlagSet", "flagSet") {
		p.definition(print, pkg, call, callee, constants)
		return
	}
	if strings.Contains(callee.Name(), "Print") || !strings.Contains(callee.Name(), "Flag") && !passesFlagSet(signature) {
		return
	}
	var arguments []string
	for _, argument := range call.Args {
		arguments = append(arguments, text(pkg, argument))
	}
	if receiver := signature.Recv(); receiver != nil && types.IsInterface(receiver.Type()) {
		target := receiver.Type().Underlying().(*types.Interface)
		scope := callee.Pkg().Scope()
		for _, other := range scope.Names() {
			if object, ok := scope.Lookup(other).(*types.TypeName); ok && !types.IsInterface(object.Type()) {
				if types.Implements(types.NewPointer(object.Type()), target) {
					p.flags(print, callee.Pkg().Path(), other+"."+callee.Name(), arguments, seen)
				}
			}
		}
		return
	}
	p.flags(print, callee.Pkg().Path(), functionName(callee), arguments, seen)
}

// definition prints the flag that a call of a flag set's method defines, if it defines one.
func (p *program) definition(print func(path, kind string), pkg *checked, call *ast.CallExpr, method *types.Func, constants map[types.Object]string) {
	parameters := method.Type().(*types.Signature).Params()
	name, value, usage := -1, -1, false
	for i := 0; i < parameters.Len(); i++ {
		switch parameters.At(i).Name() {
		case "name":
			name = i
		case "usage":
			usage = true
		case "value":
			value = i
		}
	}
	if name < 0 || !usage {
		return
	}
	flag := flagName(pkg, call.Args[name], constants)
	if flag == "" {
		warn("%s: a flag without a constant name", p.files.Position(call.Pos()))
		return
	}
	kind := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(method.Name(), "F"), "P"), "Var")
	if kind == "" {
		kind = p.valueKind(pkg.info.TypeOf(call.Args[value]))
	}
	print(flag, strings.ToLower(kind[:1])+kind[1:])
}

// flagName returns the name of a flag: a constant text, or fmt.Sprintf of one and an argument of the function.
func flagName(pkg *checked, value ast.Expr, constants map[types.Object]string) string {
	if call, ok := value.(*ast.CallExpr); ok && len(call.Args) == 2 {
		if argument, ok := call.Args[1].(*ast.Ident); ok {
			if constant := constants[pkg.info.Uses[argument]]; constant != "" {
				return strings.ReplaceAll(text(pkg, call.Args[0]), "%s", constant)
			}
		}
	}
	if argument, ok := value.(*ast.Ident); ok && constants[pkg.info.Uses[argument]] != "" {
		return constants[pkg.info.Uses[argument]]
	}
	return text(pkg, value)
}

// valueKind returns the text that a flag's value returns as its type, or the name of its Go type.
func (p *program) valueKind(t types.Type) string {
	if pointer, ok := types.Unalias(t).(*types.Pointer); ok {
		t = pointer.Elem()
	}
	named, ok := types.Unalias(t).(*types.Named)
	if !ok || named.Obj().Pkg() == nil || types.IsInterface(named) {
		return "any"
	}
	pkg := p.bodies(named.Obj().Pkg().Path())
	kind := ""
	for _, file := range pkg.syntax {
		for _, declaration := range file.Decls {
			f, ok := declaration.(*ast.FuncDecl)
			if !ok || f.Body == nil || functionName(pkg.info.Defs[f.Name]) != named.Obj().Name()+".Type" {
				continue
			}
			ast.Inspect(f.Body, func(node ast.Node) bool {
				if result, ok := node.(*ast.ReturnStmt); ok && len(result.Results) == 1 {
					kind = text(pkg, result.Results[0])
				}
				return true
			})
		}
	}
	if kind == "" {
		return "go:" + named.Obj().Name()
	}
	return kind
}

func functionName(object types.Object) string {
	f, ok := object.(*types.Func)
	if !ok {
		return ""
	}
	receiver := f.Type().(*types.Signature).Recv()
	if receiver == nil {
		return f.Name()
	}
	t := types.Unalias(receiver.Type())
	if pointer, ok := t.(*types.Pointer); ok {
		t = types.Unalias(pointer.Elem())
	}
	if named, ok := t.(*types.Named); ok {
		return named.Obj().Name() + "." + f.Name()
	}
	return f.Name()
}

func passesFlagSet(signature *types.Signature) bool {
	for _, tuple := range []*types.Tuple{signature.Params(), signature.Results()} {
		for i := 0; i < tuple.Len(); i++ {
			if isFlagSet(tuple.At(i).Type(), "FlagSet", "NamedFlagSets") {
				return true
			}
		}
	}
	return false
}

func isFlagSet(t types.Type, names ...string) bool {
	if pointer, ok := types.Unalias(t).(*types.Pointer); ok {
		t = pointer.Elem()
	}
	named, ok := types.Unalias(t).(*types.Named)
	return ok && contains(names, named.Obj().Name())
}

func (p *program) inspect(pkg *checked, visit func(ast.Node)) {
	for _, file := range pkg.syntax {
		ast.Inspect(file, func(node ast.Node) bool {
			if node != nil {
				visit(node)
			}
			return true
		})
	}
}

// keyed returns the values of a struct literal by field.
func keyed(literal *ast.CompositeLit) map[string]ast.Expr {
	values := map[string]ast.Expr{}
	for _, element := range literal.Elts {
		if pair, ok := element.(*ast.KeyValueExpr); ok {
			if key, ok := pair.Key.(*ast.Ident); ok {
				values[key.Name] = pair.Value
			}
		}
	}
	return values
}

// text returns the value of a constant text, and an empty text for anything else.
func text(pkg *checked, value ast.Expr) string {
	if value == nil {
		return ""
	}
	if call, ok := value.(*ast.CallExpr); ok && len(call.Args) == 1 && pkg.info.Types[value].Value == nil {
		// A conversion such as plugins.InternalPlugin.String().
		value = call.Args[0]
	}
	v := pkg.info.Types[value].Value
	if v == nil || v.Kind() != constant.String {
		return ""
	}
	return constant.StringVal(v)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "/" + name
}

func sorted[V any](values map[string]V) []string {
	var names []string
	for name := range values {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func contains(values []string, value string) bool {
	for _, other := range values {
		if other == value {
			return true
		}
	}
	return false
}

func warn(format string, values ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
}

func fail(format string, values ...any) {
	warn(format, values...)
	os.Exit(1)
}

func main() {
	p := &program{token.NewFileSet(), map[string]*listed{}, map[string]*types.Package{}, map[string]*checked{}}
	for decoder := json.NewDecoder(bufio.NewReader(os.Stdin)); ; {
		pkg := &listed{}
		if err := decoder.Decode(pkg); err == io.EOF {
			break
		} else if err != nil {
			fail("%v", err)
		}
		p.listed[pkg.ImportPath] = pkg
	}
	output := bufio.NewWriter(os.Stdout)
	defer output.Flush()
	for _, question := range os.Args[1:] {
		print := func(path, kind string) { fmt.Fprintf(output, "%s\t%s\t%s\n", question, path, kind) }
		verb, rest, _ := strings.Cut(question, ":")
		switch verb {
		case "struct":
			tag, name, _ := strings.Cut(rest, ":")
			dot := strings.LastIndex(name, ".")
			pkg, err := p.declarations(name[:dot])
			if err != nil {
				fail("%v", err)
			}
			p.field(print, tag, "", pkg.Scope().Lookup(name[dot+1:]).Type(), nil)
		case "plugins":
			p.plugins(print, rest)
		case "flags":
			slash := strings.LastIndex(rest, "/")
			dot := slash + strings.Index(rest[slash:], ".")
			p.flags(print, rest[:dot], rest[dot+1:], nil, map[string]bool{})
		case "texts":
			dot := strings.LastIndex(rest, ".")
			p.texts(print, rest[:dot], rest[dot+1:])
		case "gates":
			minor, _ := strconv.Atoi(rest)
			p.gates(print, minor)
		default:
			fail("%s is not a question", question)
		}
	}
}
