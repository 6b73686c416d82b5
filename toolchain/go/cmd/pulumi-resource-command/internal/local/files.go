package local

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gobwas/glob"
	"github.com/pulumi/pulumi-go-provider/infer/types"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// collectFiles adds the files that assetPaths and archivePaths select to the outputs.
func collectFiles(in ProcessInputs, outputs *Outputs) error {
	dir := value(in.Dir)
	if dir == "" {
		dir = "."
	}
	if len(in.AssetPaths) > 0 {
		paths, err := selectFiles(dir, in.AssetPaths)
		if err != nil {
			return fmt.Errorf("assetPaths: %w", err)
		}
		assets := make(map[string]types.AssetOrArchive, len(paths))
		for _, path := range paths {
			asset, err := resource.NewPathAsset(filepath.Join(dir, path))
			if err != nil {
				return fmt.Errorf("assetPaths: %s: %w", path, err)
			}
			assets[path] = types.AssetOrArchive{Asset: asset}
		}
		outputs.Assets = &assets
	}
	if len(in.ArchivePaths) > 0 {
		paths, err := selectFiles(dir, in.ArchivePaths)
		if err != nil {
			return fmt.Errorf("archivePaths: %w", err)
		}
		members := make(map[string]any, len(paths))
		for _, path := range paths {
			asset, err := resource.NewPathAsset(filepath.Join(dir, path))
			if err != nil {
				return fmt.Errorf("archivePaths: %s: %w", path, err)
			}
			members[path] = asset
		}
		if outputs.Archive, err = resource.NewAssetArchive(members); err != nil {
			return fmt.Errorf("archivePaths: %w", err)
		}
	}
	return nil
}

// rule is one pattern. A pattern that begins with "!" excludes files.
type rule struct {
	pattern glob.Glob
	exclude bool
}

// selectFiles returns the files below dir that the patterns select, as paths relative to dir with "/" between the
// parts. The last pattern that matches a path decides.
func selectFiles(dir string, patterns []string) ([]string, error) {
	rules := make([]rule, len(patterns))
	for i, text := range patterns {
		text, exclude := strings.CutPrefix(text, "!")
		pattern, err := glob.Compile(text, '/')
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", patterns[i], err)
		}
		rules[i] = rule{pattern, exclude}
	}
	var selected []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		include := false
		for _, r := range rules {
			if r.pattern.Match(path) {
				include = !r.exclude
			}
		}
		if include {
			selected = append(selected, path)
		}
		return nil
	})
	return selected, err
}
