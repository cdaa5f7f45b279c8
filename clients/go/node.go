package alknet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
)

// Node serves operations and calls those of others. It is started once.
type Node struct {
	options  Options
	logger   *slog.Logger
	base     context.Context // whose values handlers see
	host     atomic.Pointer[host]
	draining chan struct{} // closed when a graceful stop begins
	stopped  chan struct{} // closed when nothing runs any more
	room     roomSignal    // for calls, after the queue was full
	logs     chan logLine
	lost     atomic.Int64  // lines for which logs had no room
	work     chan *serving // for goroutines that wait for a call
	idle     atomic.Int32  // how many do

	mu         sync.Mutex
	started    bool
	operations []*operation
	listening  []Listener
	tags       uint64
	waiting    map[uint64]waiter // what the events of a tag are for
	conns      map[uint64]*Conn  // open ones, by id
	reloads    []chan error      // in the order in which they were submitted

	running map[uint64]*serving // calls of operations that are served here; the poller's alone
}

// waiter is a call of the program, or a connection that it has dialled.
type waiter interface {
	on(n *Node, e *event)
}

// Listener is an address that a node listens on.
type Listener struct {
	Address string `json:"address"` // numeric; "" for a Unix-domain socket
	Port    int    `json:"port"`
	Scheme  string `json:"scheme"`
	URL     string `json:"url"`
	Path    string `json:"path"` // of a Unix-domain socket
}

// NewNode makes a node that does nothing until it is started. What is wrong with the options is told
// then.
func NewNode(options Options) *Node {
	n := &Node{
		options:  options,
		logger:   options.Logger,
		base:     context.Background(),
		draining: make(chan struct{}),
		stopped:  make(chan struct{}),
		logs:     make(chan logLine, 1024),
		work:     make(chan *serving),
		waiting:  map[uint64]waiter{},
		conns:    map[uint64]*Conn{},
		running:  map[uint64]*serving{},
	}
	if n.logger == nil {
		n.logger = slog.Default()
	}
	return n
}

func (n *Node) add(o *operation) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.started {
		panic("alknet: " + o.name + ": the node has been started before")
	}
	n.operations = append(n.operations, o)
}

// Start opens what the configuration says and serves until [Node.Stop]. What is wrong with options
// or operations, or could not be opened, is told here; nothing is open then. Handlers see the values
// of ctx, but not its end.
func (n *Node) Start(ctx context.Context) error {
	if err := errors.Join(checkVersion(), ctx.Err()); err != nil {
		return err
	}
	n.mu.Lock()
	if n.started {
		n.mu.Unlock()
		return errors.New("alknet: the node has been started before")
	}
	n.started = true
	n.mu.Unlock()
	n.base = context.WithoutCancel(ctx)
	h, err := n.open(false)
	if err != nil {
		return err
	}
	if err := h.start(); err != nil {
		h.free()
		return err
	}
	n.host.Store(h)
	go n.writeLogs()
	// What is listened on waits already.
	h.drain(n.handle)
	go n.poll(h)
	return nil
}

// Check says what [Node.Start] would find wrong, and opens nothing.
func (n *Node) Check() error {
	if err := checkVersion(); err != nil {
		return err
	}
	h, err := n.open(true)
	if err != nil {
		return err
	}
	defer h.free()
	return h.start()
}

func (n *Node) open(check bool) (*host, error) {
	text, file, err := n.options.text()
	if err != nil {
		return nil, err
	}
	h, err := newHost(text, file, &n.options, check)
	if err != nil {
		return nil, err
	}
	for i, o := range n.operations {
		err := o.err
		if err == nil {
			err = h.add(o, uint64(i))
		}
		if err != nil {
			h.free()
			return nil, fmt.Errorf("%w (operation %q)", err, o.name)
		}
	}
	return h, nil
}

// Serve starts the node, waits until ctx is done, and stops it gracefully, for no longer than the
// configuration's limits.drain_ms.
func (n *Node) Serve(ctx context.Context) error {
	if err := n.Start(ctx); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return n.Stop(context.WithoutCancel(ctx))
	case <-n.stopped:
		return nil
	}
}

// Stop stops gracefully: no new calls are taken, and those that run may end, until ctx is done, then
// they are cancelled. It returns when nothing runs any more, but for handlers that go on after their
// context has been cancelled; ctx.Err() if it had to cancel. With the context of a handler of this
// node it only begins, since it would wait for itself.
func (n *Node) Stop(ctx context.Context) error {
	h := n.host.Load()
	if h == nil {
		return ErrNotRunning
	}
	h.stop(ctx.Err() == nil)
	if s := servingOf(ctx); s != nil && s.node == n {
		return nil
	}
	select {
	case <-n.stopped:
		return nil
	case <-ctx.Done():
	}
	h.stop(false)
	<-n.stopped
	return ctx.Err()
}

// Draining is closed when a graceful stop begins: time to end what would last.
func (n *Node) Draining() <-chan struct{} { return n.draining }

// Done is closed when the node has stopped.
func (n *Node) Done() <-chan struct{} { return n.stopped }

// Listening says where, in the order of the configuration.
func (n *Node) Listening() []Listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]Listener(nil), n.listening...)
}

// Reload replaces the configuration with that of options: peers, keys, limits, certificates,
// connections and imports, as docs/configuration.md has it. When something is wrong with it, nothing
// changes. The logger stays.
func (n *Node) Reload(ctx context.Context, options Options) error {
	text, _, err := options.text()
	if err != nil {
		return err
	}
	h := n.host.Load()
	if h == nil {
		return ErrNotRunning
	}
	done := make(chan error, 1)
	n.mu.Lock()
	rc := h.reload(text)
	if rc == 0 {
		n.reloads = append(n.reloads, done)
	}
	n.mu.Unlock()
	if rc != 0 {
		return localError(rc)
	}
	select {
	case err := <-done:
		return err
	case <-n.stopped:
		return ErrNotRunning
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *Node) expect(w waiter) (tag uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tags++
	n.waiting[n.tags] = w
	return n.tags
}

func (n *Node) forget(tag uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.waiting, tag)
}

// poll hands on what the library tells, until it has stopped. The runtime's own poller waits for the
// descriptor, so that no thread does.
func (n *Node) poll(h *host) {
	h.wait(func() bool {
		h.drain(n.handle)
		return n.isStopped()
	})
	close(n.logs)
	close(n.work)
	h.free()
}

func (n *Node) isStopped() bool {
	select {
	case <-n.stopped:
		return true
	default:
		return false
	}
}

func (n *Node) handle(e *event) {
	switch e.kind {
	case eventCall:
		n.serve(e)
	case eventValue, eventDown:
		n.tell(e, false)
	case eventUp:
		n.up(e)
	case eventEnd:
		n.end(e)
	case eventRoom:
		if e.id == 0 {
			n.room.tell()
		} else if s := n.running[uint64(e.id)]; s != nil {
			s.room.tell()
		}
	case eventListening:
		var l Listener
		if json.Unmarshal(textOf(e), &l) == nil {
			n.mu.Lock()
			n.listening = append(n.listening, l)
			n.mu.Unlock()
		}
	case eventLog:
		n.log(logLine{rc: int32(e.rc), text: textOf(e)})
	case eventReloaded:
		n.reloaded(e)
	case eventDraining:
		close(n.draining)
	case eventStopped:
		close(n.stopped)
	}
}

// tell hands an event to what its tag stands for.
func (n *Node) tell(e *event, last bool) {
	tag := uint64(e.tag)
	n.mu.Lock()
	w := n.waiting[tag]
	if last {
		delete(n.waiting, tag)
	}
	n.mu.Unlock()
	if w != nil {
		w.on(n, e)
	}
}

func (n *Node) end(e *event) {
	id := uint64(e.id)
	if s := n.running[id]; s != nil {
		delete(n.running, id)
		s.ended(e)
		return
	}
	n.mu.Lock()
	c := n.conns[id]
	delete(n.conns, id)
	n.mu.Unlock()
	if c != nil && !c.dialled {
		c.on(n, e)
		return
	}
	n.tell(e, true)
}

func (n *Node) reloaded(e *event) {
	var err error
	if e.rc != 0 {
		var said struct{ Message string }
		if json.Unmarshal(textOf(e), &said) == nil && said.Message != "" {
			err = errors.New("alknet: " + said.Message)
		} else {
			err = localError(int(e.rc))
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.reloads) > 0 {
		n.reloads[0] <- err
		n.reloads = n.reloads[1:]
	}
}

// roomSignal wakes whoever waits until a queue has room again. Who takes the channel before he tries
// misses nothing.
type roomSignal struct {
	mu   sync.Mutex
	next chan struct{}
}

func (r *roomSignal) wait() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil {
		r.next = make(chan struct{})
	}
	return r.next
}

func (r *roomSignal) tell() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next != nil {
		close(r.next)
		r.next = nil
	}
}
