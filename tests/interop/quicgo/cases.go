// The cases of the client: each dials alknetd, does what its name says, and returns what was not as it should be.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

type client struct {
	context.Context
	address *net.UDPAddr
	socket  *socket
	tls     *tls.Config
	quic    *quic.Config
	trace   *trace
}

// A UDP socket that can go on from another port: what a NAT does that has forgotten a binding.
type socket struct {
	net.PacketConn
	mutex sync.Mutex
}

func (s *socket) now() net.PacketConn {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.PacketConn
}

func (s *socket) WriteTo(b []byte, to net.Addr) (int, error) { return s.now().WriteTo(b, to) }

func (s *socket) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		conn := s.now()
		n, from, err := conn.ReadFrom(b)
		if err == nil || conn == s.now() {
			return n, from, err
		}
	}
}

func (s *socket) rebind() {
	s.mutex.Lock()
	old := s.PacketConn
	s.PacketConn = listen(0)
	s.mutex.Unlock()
	old.Close()
}

func newClient(ctx context.Context, address string, pair []string) *client {
	c := &client{Context: ctx, address: must(net.ResolveUDPAddr("udp4", address)), trace: newTrace(),
		tls: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpn}}, quic: &quic.Config{}}
	c.quic.Tracer = c.trace.tracer
	if len(pair) == 2 {
		c.tls.Certificates = []tls.Certificate{must(tls.LoadX509KeyPair(pair[0], pair[1]))}
	}
	return c
}

func (c *client) dial() (*quic.Conn, error) {
	c.socket = &socket{PacketConn: listen(0)}
	transport := &quic.Transport{Conn: c.socket}
	return transport.Dial(c, c.address, c.tls, c.quic)
}

func wrong(format string, args ...any) error { return fmt.Errorf(format, args...) }

func (c *client) echo(conn *quic.Conn, value any) error {
	output, err := do(c, conn, "demo/echo", value)
	if err == nil && !reflect.DeepEqual(output, value) {
		err = wrong("%v for %v", output, value)
	}
	return err
}

// Dials, and goes on.
func dialled(f func(c *client, conn *quic.Conn) error) func(*client) error {
	return func(c *client) error {
		conn, err := c.dial()
		if err != nil {
			return err
		}
		return f(c, conn)
	}
}

// The connection ends, and the test is told how.
func (c *client) over(conn *quic.Conn) error {
	select {
	case <-conn.Context().Done():
		say(ending(context.Cause(conn.Context())))
		return nil
	case <-c.Done():
		return c.Err()
	}
}

var cases = map[string]func(*client) error{
	"echo": dialled(func(c *client, conn *quic.Conn) error {
		if p := conn.ConnectionState().TLS.NegotiatedProtocol; p != alpn {
			return wrong("ALPN %s", p)
		}
		return errors.Join(c.echo(conn, "x"), c.echo(conn, strings.Repeat("large", 150000)), conn.CloseWithError(0, ""))
	}),
	"whoami": dialled(func(c *client, conn *quic.Conn) error {
		output, err := do(c, conn, "demo/whoami", nil)
		say(object{"whoami": output})
		return err
	}),
	"streams":      dialled(streams),
	"shared":       dialled(shared),
	"retry":        retry,
	"keys":         dialled(keys),
	"rebind":       dialled(rebind),
	"migrate":      dialled(migrate),
	"version 2":    version2,
	"subscription": dialled(subscription),
	"framing":      dialled(framing),
	"called back":  dialled(calledBack),
	"over": dialled(func(c *client, conn *quic.Conn) error {
		err := c.echo(conn, 1.0)
		say(object{"open": true})
		return errors.Join(err, c.over(conn))
	}),
	"refused": func(c *client) error {
		conn, err := c.dial()
		if err != nil {
			say(ending(err))
			return nil
		}
		return c.over(conn)
	},
	"alpn": func(c *client) error {
		c.tls.NextProtos = []string{"h3"}
		_, err := c.dial()
		say(ending(err))
		return nil
	},
	// The server is another one when the order comes, which knows nothing of the connection.
	"stateless reset": dialled(func(c *client, conn *quic.Conn) error {
		err := c.echo(conn, 1.0)
		say(object{"open": true})
		orders.Scan()
		go c.echo(conn, 2.0)
		return errors.Join(err, c.over(conn))
	}),
	"close 2": dialled(func(c *client, conn *quic.Conn) error {
		return errors.Join(c.echo(conn, 1.0), conn.CloseWithError(2, "enough"))
	}),
}

// Far more than may be open at a time.
func streams(c *client, conn *quic.Conn) error {
	errs := make(chan error)
	for n := range 160 {
		go func() { errs <- c.echo(conn, float64(n)) }()
	}
	var all error
	for range 160 {
		all = errors.Join(all, <-errs)
	}
	return all
}

// A slow call holds up nobody behind it, and its abort is heard.
func shared(c *client, conn *quic.Conn) error {
	slow, err := start(c, conn, "demo/sleep", object{"ms": 60000})
	if err != nil {
		return err
	}
	for n := range 5 {
		quick, err := send(slow.Stream, "demo/echo", n)
		if err != nil {
			return err
		}
		if output, err := quick.next(); err != nil || output != float64(n) {
			return wrong("%v %v", output, err)
		}
	}
	write(slow, "call.aborted", slow.id, object{})
	slow.Close()
	if e, err := read(slow); err != io.EOF {
		return wrong("behind the abort: %v %v", e, err)
	}
	return nil
}

// By a Retry, and the next time by the token of the first.
func retry(c *client) error {
	c.quic.TokenStore = quic.NewLRUTokenStore(1, 1)
	for want := range 2 {
		conn, err := c.dial()
		if err != nil {
			return err
		}
		if err := c.echo(conn, "x"); err != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond) // the token comes by itself
		conn.CloseWithError(0, "")
		if n := c.trace.count("retry"); n != 1 {
			return wrong("%d Retry packets in connection %d", n, want)
		}
	}
	return nil
}

// quic-go updates its keys by itself behind a hundred packets.
func keys(c *client, conn *quic.Conn) error {
	for n := range 300 {
		if err := c.echo(conn, float64(n)); err != nil {
			return err
		}
	}
	if c.trace.count("local_update") == 0 {
		return wrong("no update of keys: %v", c.trace.seen)
	}
	return nil
}

func rebind(c *client, conn *quic.Conn) error {
	clock, err := start(c, conn, "demo/clock", object{"interval_ms": 1})
	for n := range 3 {
		if err != nil {
			return err
		}
		if _, err = clock.next(); err == nil {
			c.socket.rebind()
			err = c.echo(conn, float64(n))
		}
	}
	return err
}

func migrate(c *client, conn *quic.Conn) error {
	clock, err := start(c, conn, "demo/clock", object{"interval_ms": 1})
	for n := range 3 {
		if err != nil {
			return err
		}
		path, e := conn.AddPath(&quic.Transport{Conn: listen(0)})
		if e != nil {
			return e
		}
		if err = path.Probe(c); err == nil {
			err = path.Switch()
		}
		_, e = clock.next()
		err = errors.Join(err, e, c.echo(conn, float64(n)))
	}
	return err
}

func version2(c *client) error {
	c.quic.Versions = []quic.Version{quic.Version2}
	return dialled(func(c *client, conn *quic.Conn) error {
		if v := conn.ConnectionState().Version; v != quic.Version2 {
			return wrong("version %v", v)
		}
		return c.echo(conn, "x")
	})(c)
}

// To its end; aborted by a message, and by what QUIC has for it.
func subscription(c *client, conn *quic.Conn) error {
	clock, err := start(c, conn, "demo/clock", object{"interval_ms": 1, "count": 20})
	n := 0
	for err == nil {
		if _, err = clock.next(); err == nil {
			n++
		}
	}
	if err != io.EOF || n != 20 {
		return wrong("%d values, then %v", n, err)
	}
	for _, how := range []func(call){
		func(k call) { write(k, "call.aborted", k.id, object{}); k.Close() },
		func(k call) { k.CancelRead(0); k.Close() },
		func(k call) { k.CancelWrite(0); k.CancelRead(0) },
	} {
		clock, err := start(c, conn, "demo/clock", object{"interval_ms": 1})
		if err != nil {
			return err
		}
		if _, err = clock.next(); err != nil {
			return err
		}
		how(clock)
	}
	return c.echo(conn, "x")
}

// The stream goes, with code 1 in both directions, and nothing else does.
func framing(c *client, conn *quic.Conn) error {
	s, err := conn.OpenStreamSync(c)
	if err != nil {
		return err
	}
	s.Write([]byte{0, 0, 0, 0})
	_, err = read(s)
	if !errors.Is(err, &quic.StreamError{StreamID: s.StreamID(), ErrorCode: 1, Remote: true}) {
		return wrong("reading: %v", err)
	}
	<-s.Context().Done()
	if cause := context.Cause(s.Context()); !errors.Is(cause, &quic.StreamError{StreamID: s.StreamID(), ErrorCode: 1, Remote: true}) {
		return wrong("writing: %v", cause)
	}
	return c.echo(conn, "x")
}

// The server opens streams itself.
func calledBack(c *client, conn *quic.Conn) error {
	asked := make(chan *quic.Stream, 1)
	go func() {
		s, err := conn.AcceptStream(c)
		if err == nil {
			asked <- s
			serveStream(s, func(string) {})
		}
	}()
	if err := c.echo(conn, "x"); err != nil {
		return err
	}
	select {
	case s := <-asked:
		if s.StreamID() != 1 {
			return wrong("stream %d", s.StreamID())
		}
		return c.echo(conn, "y")
	case <-c.Done():
		return c.Err()
	}
}
