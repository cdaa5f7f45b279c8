// A client and a server on quic-go for tests/interop/test_quicgo.py.
//
//	quicgo client ADDRESS CASE [CERTIFICATE KEY]   runs one case of cases.go: exit status 0, or what was wrong
//	quicgo server CERTIFICATE KEY [OPTION...]      serves on a port that it prints; options: retry, h3, v2
//
// Each line of output is one JSON object. Lines of input are orders: a client waits for one where its case says so; a server
// knows `call` (demo/echo, of the newest connection), `subscribe` (demo/clock), `close CODE` and `restart` (on the same port, with the same keys).
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

const patience = 20 * time.Second

var orders = bufio.NewScanner(os.Stdin)

func say(o object) {
	line, _ := json.Marshal(o)
	fmt.Println(string(line))
}

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func listen(port int) *net.UDPConn {
	return must(net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}))
}

// How a connection has ended.
func ending(err error) object {
	var app *quic.ApplicationError
	var transport *quic.TransportError
	var reset *quic.StatelessResetError
	switch {
	case errors.As(err, &app):
		return object{"application": uint64(app.ErrorCode), "message": app.ErrorMessage}
	case errors.As(err, &transport):
		return object{"transport": uint64(transport.ErrorCode), "message": transport.ErrorMessage}
	case errors.As(err, &reset):
		return object{"reset": true}
	}
	return object{"message": err.Error()}
}

func server(options []string) {
	certificate := must(tls.LoadX509KeyPair(options[0], options[1]))
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{alpn}}
	if slices.Contains(options, "h3") {
		config.NextProtos = []string{"h3"}
	}
	quicConfig := &quic.Config{MaxIncomingStreams: 8}
	if slices.Contains(options, "v2") {
		quicConfig.Versions = []quic.Version{quic.Version2}
	}
	var newest atomic.Pointer[quic.Conn]
	resetKey := quic.StatelessResetKey([]byte("the same for each of its lifes.."))
	open := func(port int) (*quic.Transport, *net.UDPConn) {
		socket := listen(port)
		transport := &quic.Transport{Conn: socket, StatelessResetKey: &resetKey,
			VerifySourceAddress: func(net.Addr) bool { return slices.Contains(options, "retry") }}
		listener := must(transport.Listen(config, quicConfig))
		go func() {
			for {
				conn, err := listener.Accept(context.Background())
				if err != nil {
					return
				}
				newest.Store(conn)
				say(object{"event": "open"})
				go serve(conn, func(string) { say(object{"event": "aborted"}) })
				go func() {
					<-conn.Context().Done()
					say(object{"event": "over", "how": ending(context.Cause(conn.Context()))})
				}()
			}
		}()
		return transport, socket
	}
	transport, socket := open(0)
	port := socket.LocalAddr().(*net.UDPAddr).Port
	say(object{"event": "listening", "port": port})
	for orders.Scan() {
		var code uint64
		switch order := orders.Text(); {
		case order == "call":
			output, err := do(context.Background(), newest.Load(), "demo/echo", 5)
			say(object{"event": "answer", "output": output, "error": fmt.Sprint(err)})
		case order == "subscribe":
			must(start(context.Background(), newest.Load(), "demo/clock", object{"interval_ms": 1}))
			say(object{"event": "subscribed"})
		case order == "restart":
			socket.Close() // nothing is said to anybody
			transport.Close()
			transport, socket = open(port)
			say(object{"event": "restarted"})
		default:
			must(fmt.Sscanf(order, "close %d", &code))
			newest.Load().CloseWithError(quic.ApplicationErrorCode(code), "enough")
		}
	}
}

func main() {
	if os.Args[1] == "server" {
		server(os.Args[2:])
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := newClient(ctx, os.Args[2], os.Args[4:])
	run, ok := cases[os.Args[3]]
	if !ok {
		must(0, fmt.Errorf("no case %s", os.Args[3]))
	}
	must(0, run(c))
}
