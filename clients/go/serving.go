package alknet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// serving is a call of an operation that is served here, and the context that its handler gets. That
// is no context of the standard library's since the library keeps the deadline: its end is an event,
// so a call needs no timer of Go's.
type serving struct {
	node     *Node
	op       *operation
	id       uint64
	deadline time.Time // zero: none
	input    []byte
	room     roomSignal

	requestID, parentID, traceparent, address string
	identity, originator, forwardedFor        string // JSON
	connection                                uint64

	mu    sync.Mutex
	done  chan struct{} // made when somebody asks
	err   error
	after map[*func()]struct{}
}

func (n *Node) serve(e *event) {
	s := &serving{
		node:         n,
		op:           n.operations[e.tag],
		id:           uint64(e.id),
		input:        textOf(e),
		requestID:    goStringN(e.request_id, e.request_id_len),
		parentID:     goStringN(e.parent_id, e.parent_id_len),
		traceparent:  goString(e.traceparent),
		address:      goString(e.address),
		identity:     goString(e.identity),
		originator:   goString(e.originator),
		forwardedFor: goString(e.forwarded_for),
		connection:   uint64(e.connection),
	}
	if e.timeout_ms != eventNoTimeout {
		s.deadline = time.Now().Add(time.Duration(e.timeout_ms) * time.Millisecond)
	}
	n.running[s.id] = s
	select {
	case n.work <- s:
	default:
		go n.serveCalls(s)
	}
}

// idleMax goroutines wait for the next call: their stacks have grown already to what handlers need,
// which is a good part of what a short call costs.
const idleMax = 64

func (n *Node) serveCalls(s *serving) {
	for open := true; open; n.idle.Add(-1) {
		s.run()
		if n.idle.Add(1) > idleMax {
			open = false
			continue
		}
		s, open = <-n.work
	}
}

// run runs the handler. A panic is that of this call alone, and so is runtime.Goexit.
func (s *serving) run() {
	input := s.input
	s.input = nil
	returned := false
	defer func() {
		if returned {
			return
		}
		why := recover()
		if why == nil {
			why = "runtime.Goexit was called"
		}
		s.node.logger.LogAttrs(s, slog.LevelError, "alknet: a handler has panicked", slog.String("operation", s.op.name),
			slog.String("request_id", s.requestID), slog.Any("panic", why), slog.String("stack", string(debug.Stack())))
		s.send(internalError)
	}()
	s.op.run(s, input)
	returned = true
}

func (s *serving) reply(out any) {
	e, text, err := encode(out)
	if err != nil {
		s.unsayable(err)
		return
	}
	s.sent(s.node.host.Load().reply(s.id, text))
	e.done()
}

// emit says whether the subscription goes on.
func (s *serving) emit(out any) bool {
	e, text, err := encode(out)
	if err != nil {
		s.unsayable(err)
		return false
	}
	defer e.done()
	for {
		room := s.room.wait()
		rc := s.node.host.Load().emit(s.id, text)
		if rc != again {
			s.sent(rc)
			return rc == 0
		}
		select {
		case <-room:
		case <-s.Done():
			return false
		}
	}
}

func (s *serving) complete() { s.sent(s.node.host.Load().complete(s.id)) }

var internalError = &CallError{Code: CodeInternal, Message: "internal error"}

func (s *serving) fail(err error) {
	fault := s.op.fault(err)
	if fault == nil {
		if s.Err() == nil {
			s.complain("a handler has failed", err)
		}
		fault = internalError
	}
	s.send(fault)
}

// refuse: the schema lets pass what the handler's type cannot hold.
func (s *serving) refuse(err error) {
	s.send(&CallError{Code: CodeInvalidInput, Message: err.Error()})
}

func (s *serving) unsayable(err error) {
	s.complain("what a handler has answered is no JSON", err)
	s.send(internalError)
}

func (s *serving) send(fault *CallError) {
	text, err := fault.text()
	if err != nil {
		s.complain("the details of an error are no JSON", err)
		text, _ = internalError.text()
	}
	s.sent(s.node.host.Load().fail(s.id, text))
}

// sent: that a call has ended meanwhile is no news, its end is an event.
func (s *serving) sent(rc int) {
	if rc != 0 && rc != ended && rc != closed {
		s.complain("an answer was not taken", localError(rc))
	}
}

func (s *serving) complain(what string, err error) {
	s.node.logger.LogAttrs(s, slog.LevelError, "alknet: "+what, slog.String("operation", s.op.name),
		slog.String("request_id", s.requestID), slog.Any("error", err))
}

// fault is what a call fails with for an error of its handler; nil: it is none that the operation
// declares.
func (o *operation) fault(err error) *CallError {
	var fault *CallError
	var domain DomainError
	if errors.As(err, &domain) {
		fault = domain.AlknetError()
	} else {
		errors.As(err, &fault)
	}
	if fault == nil || !o.declared[fault.Code] {
		return nil
	}
	return fault
}

// ended is the call's only end, whoever has ended it.
func (s *serving) ended(e *event) {
	err := context.Canceled
	if int32(e.rc) == endTimeout {
		err = context.DeadlineExceeded
	}
	s.mu.Lock()
	s.err = err
	if s.done != nil {
		close(s.done)
	}
	after := s.after
	s.after = nil
	s.mu.Unlock()
	for f := range after {
		go (*f)()
	}
}

// ---- the context -----------------------------------------------------------------------------

func (s *serving) Deadline() (time.Time, bool) { return s.deadline, !s.deadline.IsZero() }

var closedChan = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func (s *serving) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done == nil {
		if s.err != nil {
			return closedChan
		}
		s.done = make(chan struct{})
	}
	return s.done
}

func (s *serving) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// AfterFunc is what the standard library's contexts ask their parents for, lest each have a
// goroutine.
func (s *serving) AfterFunc(f func()) (stop func() bool) {
	key := &f
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		go f()
		return func() bool { return false }
	}
	if s.after == nil {
		s.after = map[*func()]struct{}{}
	}
	s.after[key] = struct{}{}
	return func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, waits := s.after[key]
		delete(s.after, key)
		return waits
	}
}

type servingKey struct{}

func (s *serving) Value(key any) any {
	if key == (servingKey{}) {
		return s
	}
	return s.node.base.Value(key)
}

func (s *serving) String() string { return fmt.Sprintf("alknet call of %s", s.op.name) }

func servingOf(ctx context.Context) *serving {
	s, _ := ctx.Value(servingKey{}).(*serving)
	return s
}

// ---- what a handler may know -----------------------------------------------------------------

// CallInfo is what is known of a call that is served here.
type CallInfo struct {
	Operation string
	RequestID string
	ParentID  string    // of the call that has made it; "": none
	Identity  *Identity // whom the access rule looks at; nil: nobody
	// Originator is who has made the first of a chain of calls, for records and display, never for
	// decisions. nil: nobody.
	Originator *Identity
	// ForwardedFor is for whom a peer says that it calls; not proved. nil: nobody.
	ForwardedFor *Identity
	Traceparent  string
	Address      string    // of the remote, as far as it is known
	Deadline     time.Time // zero: none
	// Connection is the one by which the call came, to call what its other end serves. nil: none.
	Connection *Conn
}

// Info is what is known of the call whose handler has this context, or one derived from it; nil when
// there is none.
func Info(ctx context.Context) *CallInfo {
	s := servingOf(ctx)
	if s == nil {
		return nil
	}
	info := &CallInfo{
		Operation:    s.op.name,
		RequestID:    s.requestID,
		ParentID:     s.parentID,
		Identity:     parseIdentity(s.identity),
		Originator:   parseIdentity(s.originator),
		ForwardedFor: parseIdentity(s.forwardedFor),
		Traceparent:  s.traceparent,
		Address:      s.address,
		Deadline:     s.deadline,
	}
	if s.connection != 0 {
		info.Connection = s.node.connOf(s.connection)
	}
	return info
}

func parseIdentity(text string) *Identity {
	if text == "" {
		return nil
	}
	who := &Identity{}
	if json.Unmarshal([]byte(text), who) != nil {
		return nil
	}
	return who
}
