// A call connection on quic-go: framed envelopes on bidirectional streams, in both directions.
//
// Every call has a stream of its own, which ends behind its request unless its caller asks for more. What the remote calls
// here is answered on its stream: echoes, and a clock.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

const alpn = "alknet/call"

type envelope struct {
	Type    string          `json:"type"`
	ID      string          `json:"id"`
	Payload json.RawMessage `json:"payload"`
}

type request struct {
	Operation string `json:"operationId"`
	Input     any    `json:"input"`
}

type fault struct{ Code, Message string }

func (f fault) Error() string { return f.Code + ": " + f.Message }

var ids atomic.Uint64

func write(w io.Writer, kind, id string, payload any) error {
	body, err := json.Marshal(payload)
	if err != nil {
		return err
	}
	body, err = json.Marshal(envelope{kind, id, body})
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	return err
}

func read(r io.Reader) (e envelope, err error) {
	var head [4]byte
	if _, err = io.ReadFull(r, head[:]); err != nil {
		return
	}
	body := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err = io.ReadFull(r, body); err == nil {
		err = json.Unmarshal(body, &e)
	}
	return
}

// A call that has been sent.
type call struct {
	*quic.Stream
	id string
}

func send(s *quic.Stream, operation string, input any) (call, error) {
	c := call{s, fmt.Sprint("go-", ids.Add(1))}
	return c, write(s, "call.requested", c.id, request{"/" + operation, input})
}

func start(ctx context.Context, conn *quic.Conn, operation string, input any) (call, error) {
	s, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return call{}, err
	}
	return send(s, operation, input)
}

// The next value; io.EOF: there are no more.
func (c call) next() (any, error) {
	e, err := read(c)
	if err != nil {
		return nil, err
	}
	if e.ID != c.id {
		return nil, fmt.Errorf("an answer to %s on the stream of %s", e.ID, c.id)
	}
	switch e.Type {
	case "call.responded":
		var p struct{ Output any }
		err := json.Unmarshal(e.Payload, &p)
		return p.Output, err
	case "call.completed":
		return nil, io.EOF
	}
	var f fault
	if err := json.Unmarshal(e.Payload, &f); err != nil {
		return nil, err
	}
	return nil, f
}

// A call on a stream of its own, which is ended behind the request, and must be ended behind the answer.
func do(ctx context.Context, conn *quic.Conn, operation string, input any) (any, error) {
	c, err := start(ctx, conn, operation, input)
	if err != nil {
		return nil, err
	}
	c.Close()
	output, err := c.next()
	if err != nil {
		return nil, err
	}
	if e, err := read(c); err != io.EOF {
		return nil, fmt.Errorf("behind the answer: %v %v", e, err)
	}
	return output, nil
}

// Answers what the remote calls, until the connection ends.
func serve(conn *quic.Conn, aborted func(id string)) {
	for {
		s, err := conn.AcceptStream(context.Background())
		if err != nil {
			return
		}
		go serveStream(s, aborted)
	}
}

// Our side ends when the remote's has and all is answered.
func serveStream(s *quic.Stream, aborted func(id string)) {
	var running sync.WaitGroup
	stop := make(chan struct{})
	for {
		e, err := read(s)
		if err != nil {
			break
		}
		var r request
		if e.Type == "call.requested" && json.Unmarshal(e.Payload, &r) == nil {
			running.Go(func() { answer(s, e.ID, r, stop) })
		} else if e.Type == "call.aborted" {
			close(stop)
			aborted(e.ID)
		}
	}
	running.Wait()
	s.Close()
}

type object = map[string]any

func answer(s *quic.Stream, id string, r request, stop chan struct{}) {
	output := func(v any) error { return write(s, "call.responded", id, object{"output": v}) }
	switch r.Operation {
	case "/demo/echo":
		output(r.Input)
	case "/services/list":
		output(object{"operations": []any{}})
	case "/services/announce":
		output(object{})
	case "/demo/clock":
		for tick := 1; output(object{"tick": tick}) == nil; tick++ {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	default:
		write(s, "call.error", id, object{"code": "NOT_FOUND", "message": "operation not found: " + r.Operation[1:], "retryable": false})
	}
}
