package alknet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Conn is a connection that carries calls both ways: one that was dialled, or, from [CallInfo], one
// that the remote has opened.
type Conn struct {
	node    *Node
	id      uint64
	private bool // the node is there for it alone
	dialled bool
	done    chan struct{}
	up      chan struct{} // closed when it is open for the first time

	mu       sync.Mutex
	identity string
	address  string
	missing  string // what of an import or an announcement has failed
	why      error  // of its end, or of the last attempt
	open     bool
}

// DialOption says more of a connection.
type DialOption func(*dialSpec)

type dialSpec struct {
	entry map[string]any // of `connect`, docs/configuration.md
	err   error
}

func (o *dialSpec) set(name, value string) {
	o.err = errors.Join(o.err, checkText("the option "+name, value))
	o.entry[name] = value
}

func dialOption(name, value string) DialOption { return func(o *dialSpec) { o.set(name, value) } }

// Token proves to the remote who this node is; "": it is nobody.
func Token(token string) DialOption {
	return func(o *dialSpec) {
		if token != "" {
			o.set("token", token)
		}
	}
}

// TokenFile is a file with the token, that only its owner can read.
func TokenFile(path string) DialOption { return dialOption("token_file", path) }

// Key is, over QUIC, the file of an Ed25519 key that proves who this node is.
func Key(path string) DialOption { return dialOption("key", path) }

// Certificate is, over TLS, the files of a certificate and its key that prove who this node is.
func Certificate(certificate, key string) DialOption {
	return func(o *dialSpec) { o.set("certificate", certificate); o.set("key", key) }
}

// CA is a file of whom to trust over TLS, in place of those whom the system trusts.
func CA(path string) DialOption { return dialOption("ca_file", path) }

// Pin is the fingerprint of the remote's certificate or key, "SHA256:…" or "ed25519:…".
func Pin(fingerprint string) DialOption { return dialOption("pin", fingerprint) }

// RemotePeer says which of the node's peers the remote is: its calls have that identity.
func RemotePeer(id string) DialOption { return dialOption("peer", id) }

// Import makes operations of the remote callable through the node, all or those named, below a
// prefix if that is not "".
func Import(prefix string, operations ...string) DialOption {
	return func(o *dialSpec) {
		entry := map[string]any{}
		if prefix != "" {
			entry["namespace_prefix"] = prefix
		}
		if operations != nil {
			entry["operations"] = operations
		}
		o.err = errors.Join(o.err, checkText("an import", prefix+strings.Join(operations, "")))
		o.entry["import"] = entry
	}
}

// Announce asks the remote to import what this node serves, also where it would not be asked by
// itself.
func Announce() DialOption { return func(o *dialSpec) { o.entry["announce"] = true } }

// Reconnect keeps the connection: an attempt that fails is repeated, and one that is lost is dialled
// again within the time of spread (0: the default).
func Reconnect(spread time.Duration) DialOption {
	return func(o *dialSpec) {
		delete(o.entry, "reconnect")
		if spread > 0 {
			o.entry["spread"] = max(spread.Milliseconds(), 1)
		}
	}
}

// Dial connects to a node for calls of its operations, on a node of its own that ends with it.
// It takes the URLs of `connect` in docs/configuration.md: alknet (QUIC), ws, wss, alknet+tls,
// ws+unix, alknet+unix. When ctx is done before it is open, Dial fails.
func Dial(ctx context.Context, url string, options ...DialOption) (*Conn, error) {
	n := NewNode(Options{Logger: slog.New(slog.DiscardHandler)}) // what goes wrong is returned
	if err := n.Start(context.Background()); err != nil {
		return nil, err
	}
	c, err := n.dial(ctx, url, true, options)
	if err != nil {
		n.Stop(doneContext)
	}
	return c, err
}

var doneContext = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// Dial connects the node to another one, which may call what the node serves. See the function of
// that name.
func (n *Node) Dial(ctx context.Context, url string, options ...DialOption) (*Conn, error) {
	return n.dial(ctx, url, false, options)
}

func (n *Node) dial(ctx context.Context, url string, private bool, options []DialOption) (*Conn, error) {
	o := dialSpec{entry: map[string]any{"reconnect": false}}
	if private {
		o.entry["announce"] = false // there is nothing
	}
	o.set("url", url)
	for _, option := range options {
		option(&o)
	}
	if scheme, rest, ok := strings.Cut(url, "://"); ok && (scheme == "http" || scheme == "https") {
		return nil, fmt.Errorf("alknet: %s carries single requests; a connection for calls is %s://%s", scheme,
			strings.Replace(scheme, "http", "ws", 1), rest)
	}
	text, err := json.Marshal(o.entry)
	if err = errors.Join(o.err, err, ctx.Err()); err != nil {
		return nil, err
	}
	h := n.host.Load()
	if h == nil {
		return nil, ErrNotRunning
	}
	c := &Conn{node: n, private: private, dialled: true, done: make(chan struct{}), up: make(chan struct{})}
	tag := n.expect(c)
	id, err := h.dial(text, tag)
	if err != nil {
		n.forget(tag)
		return nil, err
	}
	select {
	case <-c.up:
		return c, nil
	case <-c.done:
		return nil, fmt.Errorf("alknet: %s: %w", url, c.reason())
	case <-ctx.Done():
		h.abort(id)
		if why := c.reason(); why != nil {
			return nil, fmt.Errorf("alknet: %s: %w: %w", url, ctx.Err(), why)
		}
		return nil, fmt.Errorf("alknet: %s: %w", url, ctx.Err())
	}
}

// Close closes the connection; calls that run on it end. It is over when [Conn.Done] is.
func (c *Conn) Close() error {
	rc := c.node.host.Load().abort(c.id)
	if c.private {
		<-c.node.stopped
	}
	if rc != 0 {
		return ErrConnClosed
	}
	return nil
}

// Done is closed when the connection is over.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err says why it is over, or, of one that is dialled again, why it is not open now.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open {
		return nil
	}
	return c.why
}

// Missing says what of an import or an announcement has failed; "" when nothing has.
func (c *Conn) Missing() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.missing
}

// Identity is who the remote is here; nil: nobody.
func (c *Conn) Identity() *Identity {
	c.mu.Lock()
	defer c.mu.Unlock()
	return parseIdentity(c.identity)
}

// Address is the remote's.
func (c *Conn) Address() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.address
}

func (c *Conn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.why
}

// CloseError is why a connection is not open.
type CloseError struct {
	Status  int // the close code of RFC 6455, or the HTTP status; 0: neither
	Code    string
	Message string
}

func (e *CloseError) Error() string {
	if e.Status == 0 {
		return e.Message
	}
	return fmt.Sprintf("%s (%d)", e.Message, e.Status)
}

func closeError(e *event) error {
	var f faultJSON
	json.Unmarshal(textOf(e), &f)
	if f.Message == "" {
		f.Message = "connection closed"
	}
	return &CloseError{Status: int(e.rc), Code: f.Code, Message: f.Message}
}

func (c *Conn) on(n *Node, e *event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e.kind {
	case eventUp:
		c.identity, c.address, c.missing = goString(e.identity), goString(e.address), string(textOf(e))
		c.open, c.why = true, nil
		select {
		case <-c.up:
		default:
			close(c.up)
		}
	case eventDown:
		c.open, c.why = false, closeError(e)
	case eventEnd:
		if c.open || c.why == nil {
			c.why = closeError(e)
		}
		c.open = false
		close(c.done)
		if c.private {
			n.host.Load().stop(false)
		}
	}
}

// up: what was dialled has a tag, other connections have none.
func (n *Node) up(e *event) {
	id := uint64(e.id)
	n.mu.Lock()
	var c *Conn
	if e.tag != 0 {
		if c, _ = n.waiting[uint64(e.tag)].(*Conn); c != nil {
			if c.id == 0 {
				c.id = id
			}
		}
	} else {
		c = &Conn{node: n, id: id, done: make(chan struct{}), up: make(chan struct{})}
	}
	if c != nil {
		n.conns[id] = c
	}
	n.mu.Unlock()
	if c != nil {
		c.on(n, e)
	}
}

// connOf: one that is not among the open ones is over.
func (n *Node) connOf(id uint64) *Conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.conns[id]
	if c == nil {
		c = &Conn{node: n, id: id, done: closedChan, up: closedChan, why: ErrConnClosed}
	}
	return c
}
