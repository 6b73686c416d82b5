// Package output captures the output of a command, and logs each line when it arrives.
package output

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"

	provider "github.com/pulumi/pulumi-go-provider"

	"hardway/toolchain/cmd/pulumi-resource-command/internal/redact"
)

// The values of the input `logging`, which selects the streams that are logged.
const (
	LogStdout          = "stdout"
	LogStderr          = "stderr"
	LogStdoutAndStderr = "stdoutAndStderr"
	LogNone            = "none"
)

// Capture holds the two output streams of one command.
type Capture struct {
	mutex    sync.Mutex
	log      func(line string)
	combined bytes.Buffer
	stdout   stream
	stderr   stream
}

// NewCapture returns a capture that writes the selected streams to the provider's log. "" selects both.
func NewCapture(ctx context.Context, logging string) *Capture {
	logger, redactor := provider.GetLogger(ctx), redact.From(ctx)
	c := &Capture{log: func(line string) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			logger.Info(redactor.Text(strings.ToValidUTF8(line, "\uFFFD")))
		}
	}}
	both := logging == "" || logging == LogStdoutAndStderr
	c.stdout = stream{capture: c, logged: both || logging == LogStdout}
	c.stderr = stream{capture: c, logged: both || logging == LogStderr}
	return c
}

// Stdout returns the writer for the command's standard output.
func (c *Capture) Stdout() io.Writer { return &c.stdout }

// Stderr returns the writer for the command's standard error.
func (c *Capture) Stderr() io.Writer { return &c.stderr }

// Texts returns both streams without their last line break, and logs an unfinished last line.
func (c *Capture) Texts() (stdout, stderr string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.stdout.finish(), c.stderr.finish()
}

// Combined returns both streams in the order of arrival.
func (c *Capture) Combined() string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return text(c.combined.Bytes())
}

// stream is one of the two streams.
type stream struct {
	capture *Capture
	logged  bool
	kept    bytes.Buffer
	line    bytes.Buffer // the unfinished last line
}

// Write implements io.Writer.
func (s *stream) Write(data []byte) (int, error) {
	s.capture.mutex.Lock()
	defer s.capture.mutex.Unlock()
	s.kept.Write(data)
	s.capture.combined.Write(data)
	if s.logged {
		s.line.Write(data)
		for {
			end := bytes.IndexByte(s.line.Bytes(), '\n')
			if end < 0 {
				break
			}
			s.capture.log(string(s.line.Next(end + 1)))
		}
	}
	return len(data), nil
}

func (s *stream) finish() string {
	if s.line.Len() > 0 {
		s.capture.log(s.line.String())
		s.line.Reset()
	}
	return text(s.kept.Bytes())
}

// text converts output to a property value. It removes the last line break and replaces invalid UTF-8, which the engine
// would reject.
func text(data []byte) string {
	return strings.ToValidUTF8(strings.TrimSuffix(string(data), "\n"), "\uFFFD")
}
