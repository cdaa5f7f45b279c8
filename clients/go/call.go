package alknet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"reflect"
	"sync"
	"time"
)

// Caller is whom a call goes through:
//
//   - a *[Node]: an operation that is registered there, else of one of its peers; as nobody, or [As]
//     somebody
//   - a *[Conn]: an operation of its other end, as whom the connection proves this node to be
//   - [Nested]: in a handler, with its context: an operation within the environment of the handler's
//     own, under its authority, for no longer than its call
type Caller interface {
	aim(ctx context.Context, o *callSpec) (*Node, error)
}

// Nested makes calls of a handler's own, see [Caller]. It is found by the context.
var Nested Caller = nested{}

type nested struct{}

func (nested) aim(ctx context.Context, o *callSpec) (*Node, error) {
	s := servingOf(ctx)
	if s == nil {
		return nil, errors.New("alknet: Nested needs the context of a handler")
	}
	o.parent = s.id
	return s.node, nil
}

func (n *Node) aim(context.Context, *callSpec) (*Node, error) { return n, nil }

func (c *Conn) aim(_ context.Context, o *callSpec) (*Node, error) {
	o.connection = c.id
	return c.node, nil
}

// callSpec is how a call is made.
type callSpec struct {
	stream      bool
	timeout     uint32 // milliseconds; 0: the default
	policy      uint32
	connection  uint64
	peer        string
	parent      uint64
	identity    json.RawMessage
	traceparent string
	err         error
}

// CallOption says more of a call.
type CallOption func(*callSpec)

// As says as whom a node's own operation is called.
func As(who Identity) CallOption {
	return func(o *callSpec) {
		text, err := json.Marshal(who)
		o.identity, o.err = text, errors.Join(o.err, err, checkText("an identity", string(text)))
	}
}

// Peer calls an operation of the peer of that id and of nobody else, through a node or nested.
func Peer(id string) CallOption {
	return func(o *callSpec) { o.peer, o.err = id, errors.Join(o.err, checkText("a peer's id", id)) }
}

// Via calls, nested, an operation of the other end of a connection.
func Via(c *Conn) CallOption { return func(o *callSpec) { o.connection = c.id } }

// Traceparent is that of W3C Trace Context.
func Traceparent(text string) CallOption {
	return func(o *callSpec) {
		o.traceparent, o.err = text, errors.Join(o.err, checkText("a traceparent", text))
	}
}

// NoTimeout: a call has the node's limits.deadline_ms when its context has no deadline; with this it
// has none.
func NoTimeout() CallOption { return func(o *callSpec) { o.timeout = noTimeout } }

// ContinueRunning: what a nested call has started goes on when the handler's call ends first.
func ContinueRunning() CallOption { return func(o *callSpec) { o.policy = continueRunning } }

// Call calls a query or mutation and returns its result. An input that is nil is an empty object. A
// failure of the call is a *[CallError], also when ctx is done: the call is aborted then. Where Out
// has no type for a number, it comes as a json.Number.
func Call[Out any](ctx context.Context, on Caller, operation string, in any, options ...CallOption) (Out, error) {
	var out Out
	text, err := callText(ctx, on, operation, in, options)
	if err != nil {
		return out, err
	}
	err = decodeResult(operation, text, &out)
	return out, err
}

// Subscribe calls a subscription and ranges over its values. A failure is the last pair, a
// *[CallError] as with [Call]. Leaving the loop aborts the subscription; one that is slow holds it
// up. Each range over the sequence is a subscription of its own.
func Subscribe[Out any](ctx context.Context, on Caller, operation string, in any, options ...CallOption) iter.Seq2[Out, error] {
	return func(yield func(Out, error) bool) {
		var none Out
		s := &stream{wake: make(chan struct{}, 1)}
		n, id, err := begin(ctx, on, operation, in, s, options)
		if err != nil {
			yield(none, err)
			return
		}
		defer func() {
			if s.leave() {
				n.host.Load().abort(id)
			}
		}()
		for {
			text, err := s.next(ctx, n, id)
			if text == nil {
				if err != nil {
					yield(none, err)
				}
				return
			}
			var out Out
			if err := decodeResult(operation, text, &out); err != nil {
				yield(none, err)
				return
			}
			if !yield(out, nil) {
				return
			}
		}
	}
}

func decodeResult[Out any](operation string, text []byte, out *Out) error {
	if raw, ok := any(out).(*json.RawMessage); ok {
		*raw = text
		return nil
	}
	if err := decode(text, out, losslessFor(reflect.TypeFor[Out]())); err != nil {
		return fmt.Errorf("alknet: what %s has answered is no %v: %w", operation, reflect.TypeFor[Out](), err)
	}
	return nil
}

var interfaces sync.Map // reflect.Type to bool

func losslessFor(t reflect.Type) bool {
	known, ok := interfaces.Load(t)
	if !ok {
		known, _ = interfaces.LoadOrStore(t, hasInterface(t))
	}
	return known.(bool)
}

// begin submits a call, whose events w gets.
func begin(ctx context.Context, on Caller, operation string, in any, w waiter, options []CallOption) (*Node, uint64, error) {
	if ctx.Err() != nil {
		return nil, 0, contextError(ctx)
	}
	var o callSpec
	for _, option := range options {
		option(&o)
	}
	_, o.stream = w.(*stream)
	n, err := on.aim(ctx, &o)
	if err = errors.Join(o.err, err, checkText("the name of an operation", operation)); err != nil {
		return nil, 0, err
	}
	h := n.host.Load()
	if h == nil {
		return nil, 0, ErrNotRunning
	}
	if in == nil {
		in = json.RawMessage("{}")
	}
	e, text, err := encode(in)
	if err != nil {
		return nil, 0, fmt.Errorf("alknet: the input of %s is no JSON: %w", operation, err)
	}
	defer e.done()
	if deadline, ok := ctx.Deadline(); ok {
		o.timeout = untilMS(deadline)
	}
	tag := n.expect(w)
	id, err := n.submit(ctx, h, operation, text, &o, tag)
	if err != nil {
		n.forget(tag)
	}
	return n, id, err
}

func (n *Node) submit(ctx context.Context, h *host, operation string, text []byte, o *callSpec, tag uint64) (uint64, error) {
	id, rc := h.call(operation, text, o, tag)
	for rc == again {
		room := n.room.wait() // room that there is from here on is not missed
		if id, rc = h.call(operation, text, o, tag); rc != again {
			break
		}
		select {
		case <-room:
		case <-n.stopped:
		case <-ctx.Done():
			return 0, contextError(ctx)
		}
	}
	switch {
	case rc == 0:
		return id, nil
	case rc == ended && o.parent != 0 && o.connection == 0:
		return 0, &CallError{Code: CodeAborted, Message: "the call that it belongs to has ended"}
	case rc == ended, rc == closed && o.connection != 0:
		return 0, ErrConnClosed
	}
	return 0, localError(rc)
}

// untilMS: at least 1, since 0 is the default, and less than none at all.
func untilMS(deadline time.Time) uint32 {
	left := (time.Until(deadline) + time.Millisecond - 1) / time.Millisecond
	return uint32(min(max(left, 1), math.MaxUint32-1))
}

// single is a call with one result. Its end fills the channel, which has room for it.
type single struct {
	done chan struct{}
	rc   int32
	text []byte
}

var singles = sync.Pool{New: func() any { return &single{done: make(chan struct{}, 1)} }}

func (s *single) on(_ *Node, e *event) {
	if e.kind == eventEnd {
		s.rc, s.text = int32(e.rc), textOf(e)
		s.done <- struct{}{}
	}
}

func callText(ctx context.Context, on Caller, operation string, in any, options []CallOption) ([]byte, error) {
	s := singles.Get().(*single)
	n, id, err := begin(ctx, on, operation, in, s, options)
	if err != nil {
		return nil, err
	}
	if over := ctx.Done(); over == nil {
		<-s.done
	} else {
		select {
		case <-s.done:
		case <-over:
			n.host.Load().abort(id)
			return nil, contextError(ctx)
		}
	}
	rc, text := s.rc, s.text
	s.text = nil
	singles.Put(s)
	if rc != endOK {
		return nil, faultError(rc, text)
	}
	return text, nil
}

// stream is a subscription of the program.
type stream struct {
	wake  chan struct{} // filled when something has come
	batch [][]byte      // the reader's alone

	mu     sync.Mutex
	values [][]byte // that he has not taken yet
	bytes  int
	paused bool
	left   bool // nobody reads any more
	over   bool
	rc     int32
	text   []byte
}

// When so much waits for the reader nothing more is asked for until he has taken it.
const (
	streamValues = 128
	streamBytes  = 256 << 10
)

func (s *stream) on(n *Node, e *event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case e.kind == eventEnd:
		s.over, s.rc, s.text = true, int32(e.rc), textOf(e)
	case s.left:
		return
	default:
		text := textOf(e)
		s.values = append(s.values, text)
		s.bytes += len(text)
		if !s.paused && (len(s.values) >= streamValues || s.bytes >= streamBytes) {
			s.paused = true
			n.host.Load().pause(uint64(e.id), true)
		}
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// next is the next value; nil at the end.
func (s *stream) next(ctx context.Context, n *Node, id uint64) ([]byte, error) {
	for len(s.batch) == 0 {
		s.mu.Lock()
		s.batch, s.values, s.bytes = s.values, nil, 0
		if s.paused {
			s.paused = false
			n.host.Load().pause(id, false)
		}
		over := s.over
		s.mu.Unlock()
		if len(s.batch) > 0 {
			break
		}
		if over {
			if s.rc != endOK {
				return nil, faultError(s.rc, s.text)
			}
			return nil, nil
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return nil, contextError(ctx)
		}
	}
	if ctx.Err() != nil {
		return nil, contextError(ctx)
	}
	text := s.batch[0]
	s.batch = s.batch[1:]
	return text, nil
}

// leave says whether there is something to abort.
func (s *stream) leave() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left, s.values = true, nil
	return !s.over
}
