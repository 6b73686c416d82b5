// Command pulumi-language-python is the engine's language host for programs written in Python: it serves
// pulumirpc.LanguageRuntime and runs the program through pulumi-language-python-exec, which is in the same folder.
//
// It implements the calls that running a program needs. Generating code, packing SDKs and running plugins written in
// Python answer "unimplemented".
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
)

// engineCheckInterval is the interval at which the host checks that its engine still runs. A host must not outlive a
// killed engine.
const engineCheckInterval = 30 * time.Second

func main() {
	if err := serve(); err != nil {
		fmt.Fprintf(os.Stderr, "pulumi-language-python: %v\n", err)
		os.Exit(1)
	}
}

func serve() error {
	// The engine passes these flags to every language host. This one does not use them.
	flag.String("tracing", "", "accepted and ignored")
	flag.String("root", "", "accepted and ignored: the folder comes with each request")
	flag.Parse()
	engine := flag.Arg(0)

	executor, err := executorPath()
	if err != nil {
		return err
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if engine != "" {
		if err := rpcutil.Healthcheck(ctx, engine, engineCheckInterval, stop); err != nil {
			return fmt.Errorf("watching the engine at %s: %w", engine, err)
		}
	}

	host := newLanguageHost(ctx, engine, executor)
	cancel := make(chan bool)
	go func() {
		<-ctx.Done()
		close(cancel)
	}()
	handle, err := rpcutil.ServeWithOptions(rpcutil.ServeOptions{
		Cancel: cancel,
		Init: func(server *grpc.Server) error {
			pulumirpc.RegisterLanguageRuntimeServer(server, host)
			return nil
		},
	})
	if err != nil {
		return err
	}
	// The engine reads the port from the first line.
	fmt.Println(handle.Port)
	return <-handle.Done
}

// executorPath returns the path of the script that sets up the SDK's runtime and runs the program.
func executorPath() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(self), "pulumi-language-python-exec")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the script that runs Python programs must be in the folder of the language host: %w", err)
	}
	return path, nil
}
