// The table of cases against clients/go, from within its module.  usage: runner CASES URL TOKEN
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	alknet "alknet.dev/alknet-go"
)

const patience = 15 * time.Second

var lacks = map[string]string{
	"undeclared_errors": "a handler fails with the errors that its operation declares, others are INTERNAL",
}

type object = map[string]any

type seen struct{ Waiting, Cancelled, Counting, Left int }

// begun is a call, which has one item, or a subscription.
type begun struct {
	items  chan item
	cancel func()
}

type item struct {
	value any
	err   error
}

type table struct {
	url, token string
	node       *alknet.Node
	conn       *alknet.Conn
	begun      map[string]*begun
	mu         sync.Mutex
	seen       seen
}

func shown(v any) string {
	text, _ := json.Marshal(v)
	return string(text[:min(len(text), 300)])
}

func differ(what string, wanted, got any) error {
	if reflect.DeepEqual(wanted, got) {
		return nil
	}
	return fmt.Errorf("%s should be %s, not %s", what, shown(wanted), shown(got))
}

func until(attempt func() error) error {
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if err := attempt(); err == nil || time.Now().After(end) {
			return err
		}
	}
}

// ---- what is served ---------------------------------------------------------------------------

type refusal struct {
	Code      string          `json:"code"`
	Message   string          `json:"message"`
	Retryable bool            `json:"retryable,omitempty"`
	Details   json.RawMessage `json:"details,omitempty"`
}

type terms struct {
	A int `json:"a"`
	B int `json:"b"`
}

type counts struct {
	To   *int `json:"to,omitempty"`
	Fail bool `json:"fail,omitempty"`
	Pad  int  `json:"pad,omitempty"`
}

func (t *table) count(change func(*seen)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.seen)
}

func (t *table) serve() {
	refused := alknet.Errors(alknet.ErrorSpec{Code: "UI_REFUSED", Description: "as asked"})
	alknet.Handle(t.node, "ui/echo", func(_ context.Context, in any) (any, error) { return in, nil })
	alknet.Handle(t.node, "ui/fail", func(_ context.Context, in refusal) (any, error) {
		return nil, &alknet.CallError{Code: in.Code, Message: in.Message, Retryable: in.Retryable, Details: in.Details}
	}, refused)
	alknet.Handle(t.node, "ui/broken", func(context.Context, any) (any, error) { return nil, errors.New("secret") })
	alknet.Handle(t.node, "ui/large", func(_ context.Context, in struct {
		Bytes int `json:"bytes"`
	}) (string, error) {
		return strings.Repeat("x", in.Bytes), nil
	}, alknet.Description("before\x00behind"))
	alknet.Handle(t.node, "ui/add", func(_ context.Context, in terms) (int, error) { return in.A + in.B, nil })
	alknet.Handle(t.node, "ui/wait", func(ctx context.Context, _ any) (any, error) {
		t.count(func(s *seen) { s.Waiting++ })
		<-ctx.Done()
		t.count(func(s *seen) { s.Waiting--; s.Cancelled++ })
		return nil, ctx.Err()
	}, alknet.Mutation())
	alknet.HandleStream(t.node, "ui/count", func(_ context.Context, in counts) iter.Seq2[any, error] {
		return func(yield func(any, error) bool) {
			t.count(func(s *seen) { s.Counting++ })
			defer t.count(func(s *seen) { s.Counting-- })
			for n := 0; in.To == nil || n < *in.To; n++ {
				var value any = n
				if in.Pad > 0 {
					value = strings.Repeat("x", in.Pad)
				}
				if !yield(value, nil) {
					t.count(func(s *seen) { s.Left++ })
					return
				}
			}
			if in.Fail {
				yield(nil, &alknet.CallError{Code: "UI_REFUSED", Message: "as asked"})
			}
		}
	}, refused)
}

// ---- outcomes ---------------------------------------------------------------------------------

func (b *begun) next() (it item, more bool, err error) {
	select {
	case it, more = <-b.items:
		return it, more, nil
	case <-time.After(patience):
		return it, false, errors.New("nothing comes")
	}
}

// outcome is the error that there was, or what is wrong.
func (b *begun) outcome(step object) (failure, wrong error) {
	if _, call := step["values"]; !call && step["rest"] == nil {
		it, _, wrong := b.next()
		if it.err != nil || wrong != nil {
			return it.err, wrong
		}
		return nil, differ("the value", step["value"], it.value)
	}
	values, _ := step["values"].([]any)
	for _, value := range values {
		it, _, wrong := b.next()
		if it.err != nil || wrong != nil {
			return it.err, wrong
		}
		if wrong := differ("the next value", value, it.value); wrong != nil {
			return nil, wrong
		}
	}
	if step["end"] == nil && step["error"] == nil {
		return nil, nil
	}
	for {
		it, more, wrong := b.next()
		if it.err != nil || wrong != nil || !more {
			return it.err, wrong
		}
		if step["rest"] == nil {
			return nil, differ("the end", nil, it.value)
		}
	}
}

func check(step object, failure, wrong error) error {
	wanted, _ := step["error"].(object)
	switch {
	case wrong != nil && failure == nil:
		return wrong
	case step["cancelled"] != nil:
		return differ("whether it was cancelled", true, errors.Is(failure, context.Canceled))
	case wanted == nil:
		return failure
	case failure == nil:
		return errors.New("there should be an error")
	}
	got := object{"code": nil, "message": failure.Error(), "details": nil}
	var fault *alknet.CallError
	if errors.As(failure, &fault) {
		got = object{"code": fault.Code, "message": fault.Message, "retryable": fault.Retryable, "details": nil}
		if fault.Details != nil {
			got["details"] = decode(fault.Details)
		}
	}
	for name, value := range wanted {
		if name != "says" {
			if err := differ(name+" of "+failure.Error(), value, got[name]); err != nil {
				return err
			}
			continue
		}
		found := false
		for _, text := range value.([]any) {
			found = found || strings.Contains(failure.Error(), text.(string))
		}
		if !found {
			return fmt.Errorf("%w says nothing of it", failure)
		}
	}
	return nil
}

// ---- steps ------------------------------------------------------------------------------------

func (t *table) connect(how object) error {
	if t.conn != nil {
		t.conn.Close()
	}
	var options []alknet.DialOption
	if token, ok := how["token"].(string); ok {
		options = append(options, alknet.Token(token))
	}
	if how["reconnect"] != nil {
		options = append(options, alknet.Reconnect(200*time.Millisecond))
	}
	url, other := how["url"].(string)
	if !other {
		url = t.url
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := t.node.Dial(ctx, url, options...)
	if err == nil {
		t.conn = conn
	}
	return err
}

func (t *table) start(step object) *begun {
	ctx, cancel := context.WithCancel(context.Background())
	if ms, ok := step["timeout_ms"].(json.Number); ok {
		n, _ := ms.Int64()
		ctx, cancel = context.WithTimeout(ctx, time.Duration(n)*time.Millisecond)
	}
	b := &begun{items: make(chan item), cancel: cancel}
	conn, input := t.conn, step["input"]
	if given, ok := step["input"]; ok && given == nil {
		input = json.RawMessage("null") // which nil is not
	}
	if operation, ok := step["call"].(string); ok {
		b.items = make(chan item, 1)
		go func() {
			value, err := alknet.Call[any](ctx, conn, operation, input)
			b.items <- item{value, err}
		}()
		return b
	}
	left := make(chan struct{})
	b.cancel = func() { close(left); cancel() }
	go func() {
		defer close(b.items)
		for value, err := range alknet.Subscribe[any](ctx, conn, step["subscribe"].(string), input) {
			select {
			case b.items <- item{value, err}:
			case <-left:
				return
			}
		}
	}()
	return b
}

func (t *table) attempt(step object) error {
	b := t.start(step)
	failure, wrong := b.outcome(step)
	return check(step, failure, wrong)
}

func (t *table) step(step object) error {
	text := func(name string) string { value, _ := step[name].(string); return value }
	switch {
	case step["sleep_ms"] != nil:
		ms, _ := step["sleep_ms"].(json.Number).Int64()
		time.Sleep(time.Duration(ms) * time.Millisecond)
	case step["seen"] != nil:
		var wanted seen
		json.Unmarshal([]byte(shown(step["seen"])), &wanted)
		return until(func() error {
			t.mu.Lock()
			defer t.mu.Unlock()
			return differ("what was seen", wanted, t.seen)
		})
	case step["connect"] != nil:
		return check(step, t.connect(step["connect"].(object)), nil)
	case step["close"] != nil:
		return t.conn.Close()
	case step["cancel"] != nil:
		t.begun[text("cancel")].cancel()
	case step["start"] != nil:
		t.begun[text("start")] = t.start(step)
	case step["await"] != nil:
		failure, wrong := t.begun[text("await")].outcome(step)
		return check(step, failure, wrong)
	case step["until"] != nil:
		return until(func() error { return t.attempt(step) })
	default:
		return t.attempt(step)
	}
	return nil
}

func run(url, token string, steps []any) error {
	silent := slog.New(slog.NewTextHandler(io.Discard, nil))
	t := &table{url: url, token: token, node: alknet.NewNode(alknet.Options{Logger: silent}), begun: map[string]*begun{}}
	t.serve()
	if err := t.node.Start(context.Background()); err != nil {
		return err
	}
	done, cancel := context.WithCancel(context.Background())
	cancel()
	defer t.node.Stop(done)
	if err := t.connect(object{"token": token}); err != nil {
		return err
	}
	for _, step := range steps {
		if err := t.step(step.(object)); err != nil {
			return fmt.Errorf("%s: %w", shown(step), err)
		}
	}
	return nil
}

func decode(text []byte) any {
	var value any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	for _, one := range decode(text).([]any) {
		one := one.(object)
		need, _ := one["needs"].(string)
		err := run(os.Args[2], os.Args[3], one["steps"].([]any))
		lack, lacking := lacks[need]
		switch {
		case lacking && err != nil:
			fmt.Printf("ok %s: not here, since %s\n", one["name"], lack)
		case lacking:
			fmt.Printf("not ok %s: it works, and yet the runner says: %s\n", one["name"], lack)
		case err != nil:
			fmt.Printf("not ok %s: %q\n", one["name"], err)
		default:
			fmt.Printf("ok %s\n", one["name"])
		}
	}
}
