package alknet

import (
	"context"
	"encoding/json"
	"errors"
)

// The codes of the protocol, which only the library makes. Operations have codes of their own
// besides.
const (
	CodeNotFound             = "NOT_FOUND"
	CodeForbidden            = "FORBIDDEN"
	CodeInvalidInput         = "INVALID_INPUT"
	CodeInvalidOperationType = "INVALID_OPERATION_TYPE"
	CodeTimeout              = "TIMEOUT"
	CodeBusy                 = "BUSY"
	CodeInternal             = "INTERNAL"
	// CodeAborted is what a call ends with that was aborted, by its caller or by the end of the node.
	CodeAborted = "ABORTED"
)

var (
	// ErrNotRunning: the node has not been started, or is stopping.
	ErrNotRunning = errors.New("alknet: the node is not running")
	// ErrConnClosed: the connection is over.
	ErrConnClosed = errors.New("alknet: the connection is closed")
)

// CallError is how a call fails. Of a handler it is how its call fails, when its code is one that
// the operation declares ([Errors]).
type CallError struct {
	Code      string
	Message   string
	Retryable bool            // the same call may succeed later
	Details   json.RawMessage // nil: none

	cause error
}

func (e *CallError) Error() string {
	if e.Message == "" {
		return e.Code
	}
	return e.Code + ": " + e.Message
}

// Is reports true for context.DeadlineExceeded when the code is TIMEOUT, for context.Canceled when
// it is ABORTED, and for each CallError of the same code.
func (e *CallError) Is(target error) bool {
	switch target {
	case context.DeadlineExceeded:
		return e.Code == CodeTimeout
	case context.Canceled:
		return e.Code == CodeAborted
	}
	other, ok := target.(*CallError)
	return ok && other.Code == e.Code
}

// Unwrap is the cause with which a caller's context was cancelled.
func (e *CallError) Unwrap() error { return e.cause }

// DomainError is an error that knows how a call fails with it.
type DomainError interface {
	error
	AlknetError() *CallError
}

type faultJSON struct {
	Code      string          `json:"code"`
	Message   string          `json:"message"`
	Retryable bool            `json:"retryable"`
	Details   json.RawMessage `json:"details,omitempty"`
}

// faultError reads what a call has ended with.
func faultError(rc int32, text []byte) *CallError {
	var f faultJSON
	if json.Unmarshal(text, &f) != nil || f.Code == "" {
		f = faultJSON{Code: CodeInternal}
	}
	switch rc {
	case endAborted:
		f.Code = CodeAborted
	case endTimeout:
		f.Code = CodeTimeout
	}
	return &CallError{Code: f.Code, Message: f.Message, Retryable: f.Retryable, Details: f.Details}
}

// contextError is how a call fails whose context is done.
func contextError(ctx context.Context) *CallError {
	e := &CallError{Code: CodeAborted, Message: "aborted by its caller", cause: context.Cause(ctx)}
	if ctx.Err() == context.DeadlineExceeded {
		e.Code, e.Message, e.Retryable = CodeTimeout, "the deadline has passed", true
	}
	return e
}

func (e *CallError) text() ([]byte, error) {
	return json.Marshal(faultJSON{Code: e.Code, Message: e.Message, Retryable: e.Retryable, Details: e.Details})
}
