package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/pkg/sftp"
	provider "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi-go-provider/infer/types"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// CopyToRemote copies a file, a text or a folder onto another machine.
type CopyToRemote struct{}

// Annotate describes the resource.
func (c *CopyToRemote) Annotate(a infer.Annotator) {
	a.Describe(c, "A file, a text or a folder that is copied onto another machine.")
}

// CopyToRemoteInputs are the inputs of CopyToRemote.
type CopyToRemoteInputs struct {
	Connection Connection           `pulumi:"connection" provider:"secret"`
	Triggers   []any                `pulumi:"triggers,optional" provider:"replaceOnChanges"`
	Source     types.AssetOrArchive `pulumi:"source"`
	RemotePath string               `pulumi:"remotePath"`
}

// Annotate describes the inputs.
func (in *CopyToRemoteInputs) Annotate(a infer.Annotator) {
	a.Describe(&in.Connection, "How to connect to the machine.")
	a.Describe(&in.Triggers, "Values of any type: when one changes, the resource is replaced.")
	a.Describe(&in.Source, "What to copy: a FileAsset, a StringAsset or a FileArchive. Archives are copied as they are.")
	a.Describe(&in.RemotePath,
		"Where to copy it. Missing parent folders are made. Where it is a folder already, the source goes into it.")
}

// CopyToRemoteState is the state of CopyToRemote.
type CopyToRemoteState struct {
	CopyToRemoteInputs
}

// Check rejects sources that cannot be copied.
func (CopyToRemote) Check(
	ctx context.Context, req infer.CheckRequest,
) (infer.CheckResponse[CopyToRemoteInputs], error) {
	inputs, failures, err := infer.DefaultCheck[CopyToRemoteInputs](ctx, req.NewInputs)
	if err == nil && len(failures) == 0 && !req.NewInputs.Get("source").HasComputed() {
		if _, err := sourceOf(inputs.Source); err != nil {
			failures = append(failures, provider.CheckFailure{Property: "source", Reason: err.Error()})
		}
	}
	return infer.CheckResponse[CopyToRemoteInputs]{Inputs: inputs, Failures: failures}, err
}

// Create copies the source.
func (CopyToRemote) Create(
	ctx context.Context, req infer.CreateRequest[CopyToRemoteInputs],
) (infer.CreateResponse[CopyToRemoteState], error) {
	id, err := resource.NewUniqueHex(req.Name, 8, 0)
	if err == nil && !req.DryRun {
		err = copySource(ctx, req.Inputs)
	}
	return infer.CreateResponse[CopyToRemoteState]{ID: id, Output: CopyToRemoteState{req.Inputs}}, err
}

// Update copies the source again: with other content, to another path or onto another machine.
func (CopyToRemote) Update(
	ctx context.Context, req infer.UpdateRequest[CopyToRemoteInputs, CopyToRemoteState],
) (infer.UpdateResponse[CopyToRemoteState], error) {
	var err error
	if !req.DryRun {
		err = copySource(ctx, req.Inputs)
	}
	return infer.UpdateResponse[CopyToRemoteState]{Output: CopyToRemoteState{req.Inputs}}, err
}

func copySource(ctx context.Context, in CopyToRemoteInputs) error {
	from, err := sourceOf(in.Source)
	if err != nil {
		return err
	}
	return copyTo(ctx, &in.Connection, from, in.RemotePath)
}

// source is the content to copy: a text, or the file or folder at a path.
type source struct {
	path string
	text string
}

// sourceOf returns the source that an asset or archive describes.
func sourceOf(from types.AssetOrArchive) (source, error) {
	switch {
	case from.Asset != nil && from.Asset.IsPath():
		return source{path: from.Asset.Path}, nil
	case from.Asset != nil && from.Asset.IsText():
		return source{text: from.Asset.Text}, nil
	case from.Archive != nil && from.Archive.IsPath():
		return source{path: from.Archive.Path}, nil
	default:
		return source{}, errors.New("allowed are a FileAsset, a StringAsset and a FileArchive")
	}
}

// copyTo copies the source to target on the machine. It removes no existing files and sets no modes.
func copyTo(ctx context.Context, to *Connection, from source, target string) error {
	connection, err := dial(ctx, to)
	if err != nil {
		return err
	}
	defer connection.Close()
	// An interrupted copy may leave a file with holes. Then the resource fails, and the next run copies the file again.
	remote, err := sftp.NewClient(connection.Client, sftp.UseConcurrentWrites(true))
	if err != nil {
		return fmt.Errorf("starting a file transfer to %s: %w", connection.address, causeOr(ctx, err))
	}
	defer remote.Close() //nolint:errcheck // the connection is closed next
	if err := copyInto(remote, from, target); err != nil {
		if cause := connection.aborted(); cause != nil {
			err = cause
		}
		return fmt.Errorf("copying to %s on %s: %w", target, connection.address, err)
	}
	return nil
}

// copyInto copies the source to target. If target is an existing folder, the source is copied into it. Missing parent
// folders are created. As with `cp -r`, the source "folder/" means the folder's content.
func copyInto(remote *sftp.Client, from source, target string) error {
	into, err := isFolder(remote, target)
	if err != nil {
		return err
	}
	if from.path == "" {
		if into {
			return errors.New("it is a folder, and a text has no file name: set remotePath to the path of a file")
		}
		return writeFile(remote, strings.NewReader(from.text), target)
	}
	info, err := os.Stat(from.path)
	if err != nil {
		return err
	}
	if into && !strings.HasSuffix(from.path, "/") {
		target = path.Join(target, filepath.Base(from.path))
	}
	if info.IsDir() {
		return copyFolder(remote, from.path, target)
	}
	return copyFile(remote, from.path, target)
}

// isFolder returns true if target exists and is a folder.
func isFolder(remote *sftp.Client, target string) (bool, error) {
	info, err := remote.Stat(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	}
	return info.IsDir(), nil
}

func copyFolder(remote *sftp.Client, from, target string) error {
	return filepath.WalkDir(from, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		to := path.Join(target, filepath.ToSlash(relative))
		// Links are followed, as they are if the source itself is a link.
		info, err := os.Stat(name)
		switch {
		case err != nil:
			return err
		case entry.Type()&fs.ModeSymlink != 0 && info.IsDir():
			return copyFolder(remote, name+"/", to)
		case info.IsDir():
			if err := remote.MkdirAll(to); err != nil {
				return fmt.Errorf("creating the folder %s: %w", to, err)
			}
			return nil
		}
		return copyFile(remote, name, to)
	})
}

func copyFile(remote *sftp.Client, from, target string) error {
	file, err := os.Open(from)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // only read
	return writeFile(remote, file, target)
}

func writeFile(remote *sftp.Client, content io.Reader, target string) error {
	if err := remote.MkdirAll(path.Dir(target)); err != nil {
		return fmt.Errorf("creating the folder %s: %w", path.Dir(target), err)
	}
	file, err := remote.Create(target)
	if err != nil {
		return fmt.Errorf("writing %s: %w", target, err)
	}
	_, err = file.ReadFrom(content)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", target, err)
	}
	return nil
}

// CopyFile copies a file onto another machine. CopyToRemote replaces it.
type CopyFile struct{}

// Annotate describes the resource.
func (c *CopyFile) Annotate(a infer.Annotator) {
	a.Describe(c, "A file that is copied onto another machine.")
	a.Deprecate(c, "This resource is deprecated and will be removed in a future release. "+
		"Please use the `CopyToRemote` resource instead.")
}

// CopyFileInputs are the inputs of CopyFile.
type CopyFileInputs struct {
	Connection Connection `pulumi:"connection" provider:"secret"`
	Triggers   []any      `pulumi:"triggers,optional"`
	LocalPath  string     `pulumi:"localPath"`
	RemotePath string     `pulumi:"remotePath"`
}

// Annotate describes the inputs.
func (in *CopyFileInputs) Annotate(a infer.Annotator) {
	a.Describe(&in.Connection, "How to connect to the machine.")
	a.Describe(&in.Triggers, "Values of any type: when one changes, the resource is replaced.")
	a.Describe(&in.LocalPath, "The file to copy.")
	a.Describe(&in.RemotePath, "Where to copy it.")
}

// CopyFileState is the state of CopyFile.
type CopyFileState struct {
	CopyFileInputs
}

// Create copies the file. There is no update, because every change replaces the resource.
func (CopyFile) Create(
	ctx context.Context, req infer.CreateRequest[CopyFileInputs],
) (infer.CreateResponse[CopyFileState], error) {
	id, err := resource.NewUniqueHex(req.Name, 8, 0)
	if err == nil && !req.DryRun {
		err = copyTo(ctx, &req.Inputs.Connection, source{path: req.Inputs.LocalPath}, req.Inputs.RemotePath)
	}
	return infer.CreateResponse[CopyFileState]{ID: id, Output: CopyFileState{req.Inputs}}, err
}
