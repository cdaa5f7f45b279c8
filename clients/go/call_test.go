package alknet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/big"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestCallOfANodesOwnOperation(t *testing.T) {
	n := run(t, Options{}, func(n *Node) { Handle(n, "demo/add", add) })
	out, err := Call[addOutput](bg, n, "demo/add", addInput{1, 2})
	if err != nil || out.Sum != 3 {
		t.Fatal(out, err)
	}
	if _, err := Call[addOutput](bg, n, "/demo/add", addInput{1, 2}); err != nil {
		t.Fatal("with a slash: ", err)
	}
	_, err = Call[addOutput](bg, n, "demo/nothing", nil)
	wantCode(t, err, CodeNotFound)
	wantText(t, err, "NOT_FOUND: ", "demo/nothing")
}

func TestCallOverHTTP(t *testing.T) {
	n := run(t, listening(), func(n *Node) { Handle(n, "demo/add", add) })
	status, body := post(t, n, "demo/add", `{"a":20,"b":22}`)
	if status != 200 {
		t.Fatal(status, body)
	}
	wantText(t, body, `"output":{"sum":42}`)
}

func TestInputsAreCheckedByTheSchemaOfTheirType(t *testing.T) {
	type small struct {
		N int8   `json:"n"`
		S string `json:"s,omitempty"`
	}
	n := run(t, Options{}, func(n *Node) {
		Handle(n, "a", func(_ context.Context, in small) (small, error) { return in, nil })
		Handle(n, "none", func(context.Context, struct{}) (string, error) { return "ok", nil })
		Handle(n, "echo", func(_ context.Context, in any) (any, error) { return in, nil })
	})
	for input, good := range map[string]bool{
		`{"n":127}`: true, `{"n":1,"s":"x"}`: true, `{"n":128}`: false, `{}`: false, `{"n":"1"}`: false,
		`{"n":1,"other":2}`: false, `7`: false,
	} {
		_, err := Call[any](bg, n, "a", raw(input))
		if good && err != nil || !good && codeOf(err) != CodeInvalidInput {
			t.Error(input, err)
		}
	}
	if out, err := Call[json.RawMessage](bg, n, "echo", nil); err != nil || string(out) != "{}" {
		t.Error(string(out), err)
	}
	for input, good := range map[string]bool{`{}`: true, `null`: true, `{"x":1}`: false, `1`: false} {
		_, err := Call[string](bg, n, "none", raw(input))
		if good && err != nil || !good && codeOf(err) != CodeInvalidInput {
			t.Error(input, err)
		}
	}
	var fault *CallError
	_, err := Call[any](bg, n, "a", raw(`{"n":"1"}`))
	if !errors.As(err, &fault) || !strings.Contains(string(fault.Details), `"/n"`) {
		t.Error("no details: ", err)
	}
}

// What a schema says may be more than what a type can hold.
func TestAnInputThatTheTypeCannotHoldIsTheCallersFault(t *testing.T) {
	n := run(t, Options{}, func(n *Node) { Handle(n, "demo/add", add) })
	_, err := Call[any](bg, n, "demo/add", raw(`{"a":1180591620717411303424,"b":1}`))
	wantCode(t, err, CodeInvalidInput)
}

func TestSchemasByHand(t *testing.T) {
	n := run(t, Options{}, func(n *Node) {
		Handle(n, "a", func(_ context.Context, in json.RawMessage) (json.RawMessage, error) { return in, nil },
			Schema(raw(`{"type":"array","maxItems":1}`), nil), Description("text"))
	})
	out, err := Call[json.RawMessage](bg, n, "a", []int{1})
	if err != nil || string(out) != "[1]" {
		t.Fatal(string(out), err)
	}
	_, err = Call[any](bg, n, "a", []int{1, 2})
	wantCode(t, err, CodeInvalidInput)
	spec, err := Call[map[string]any](bg, n, "services/schema", map[string]string{"name": "a"}, As(Identity{ID: "me"}))
	if err != nil || spec["description"] != "text" {
		t.Fatal(spec, err)
	}
}

// ---- numbers and texts -----------------------------------------------------------------------

func TestNumbersBeyond64BitsKeepTheirDigits(t *testing.T) {
	const digits = "123456789012345678901234567890"
	type numbers struct {
		Big    *big.Int    `json:"big"`
		Number json.Number `json:"number"`
		Any    any         `json:"any"`
	}
	n := run(t, Options{}, func(n *Node) {
		Handle(n, "echo", func(_ context.Context, in numbers) (numbers, error) {
			if in.Big.String() != digits {
				return in, fmt.Errorf("big is %v", in.Big)
			}
			return in, nil
		})
		Handle(n, "any", func(_ context.Context, in any) (any, error) { return in, nil })
	})
	input := fmt.Sprintf(`{"big":%s,"number":%s,"any":[%s,1.50]}`, digits, digits, digits)
	for _, name := range []string{"echo", "any"} {
		out, err := Call[json.RawMessage](bg, n, name, raw(input))
		if err != nil || strings.Count(string(out), digits) != 3 || !strings.Contains(string(out), "1.50") {
			t.Error(name, string(out), err)
		}
		back, err := Call[any](bg, n, name, raw(input))
		if err != nil || back.(map[string]any)["number"] != json.Number(digits) {
			t.Error(name, back, err)
		}
	}
	if out, err := Call[uint64](bg, n, "any", uint64(math.MaxUint64)); err != nil || out != math.MaxUint64 {
		t.Error(out, err)
	}
	if _, err := Call[int8](bg, n, "any", 300); err == nil || !strings.Contains(err.Error(), "int8") {
		t.Error("a result that its type cannot hold: ", err)
	}
}

func TestTextsThatCannotBeSaid(t *testing.T) {
	n := run(t, Options{}, func(n *Node) {
		Handle(n, "echo", func(_ context.Context, in string) (string, error) { return in, nil })
	})
	for _, text := range []string{"", "\x00", "a\x00b", "<&>\u2028", "€😀", strings.Repeat("x", 100000)} {
		if out, err := Call[string](bg, n, "echo", text); err != nil || out != text {
			t.Errorf("%.20q: %.20q %v", text, out, err)
		}
	}
	// As everywhere with encoding/json.
	if out, err := Call[string](bg, n, "echo", "a\xffb"); err != nil || out != "a\ufffdb" {
		t.Errorf("%q %v", out, err)
	}
	for what, err := range map[string]error{
		"NUL in the name of an operation": second(Call[any](bg, n, "a\x00b", nil)),
		"invalid UTF-8 in the name":       second(Call[any](bg, n, "a\xff", nil)),
		"NUL in a peer's id":              second(Call[any](bg, n, "echo", nil, Peer("a\x00"))),
		"NUL in a traceparent":            second(Call[any](bg, n, "echo", nil, Traceparent("\x00"))),
	} {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, name := range []string{"", "a b", "a//b", strings.Repeat("x", 300)} {
		if _, err := Call[any](bg, n, name, nil); err == nil {
			t.Errorf("%q is no name", name)
		}
	}
	if _, err := Call[any](bg, n, "echo", nil, Traceparent("nonsense")); err == nil {
		t.Error("a traceparent that is none")
	}
	for _, in := range []any{make(chan int), math.NaN(), func() {}, raw(`{`)} {
		if _, err := Call[any](bg, n, "echo", in); err == nil {
			t.Errorf("%T is no JSON", in)
		}
	}
	for name, options := range map[string][]OperationOption{
		"a\x00":    nil,
		"a\xff":    nil,
		"not good": nil,
		"a":        {Description("\xff")},
		"b":        {Schema(raw("\xff"), nil)},
		"c":        {Schema(raw(`{"type":7}`), nil)},
		"d":        {Errors(ErrorSpec{})},
		"e":        {Access(AccessRule{ResourceAction: "x"})},
	} {
		n := NewNode(Options{})
		Handle(n, name, add, options...)
		if err := n.Start(bg); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("operation %q", name)) {
			t.Errorf("%q: %v", name, err)
			kill(n)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestOperationsWhoseTypesHaveNoJSON(t *testing.T) {
	n := NewNode(Options{})
	Handle(n, "demo/chan", func(context.Context, chan int) (int, error) { return 0, nil })
	wantText(t, n.Start(bg), "demo/chan", "chan int")
	n = NewNode(Options{})
	Handle(n, "demo/add", add)
	Handle(n, "demo/add", add)
	wantText(t, n.Start(bg), "demo/add")
}

// ---- errors ----------------------------------------------------------------------------------

type notEnough struct{ missing int }

func (e *notEnough) Error() string { return "not enough" }
func (e *notEnough) AlknetError() *CallError {
	return &CallError{Code: "NOT_ENOUGH", Message: "not enough", Details: raw(fmt.Sprintf(`{"missing":%d}`, e.missing))}
}

func TestErrorsOfHandlers(t *testing.T) {
	said := &logs{}
	options := listening()
	options.Logger = said.logger()
	n := run(t, options, func(n *Node) {
		declared := Errors(ErrorSpec{Code: "NOT_ENOUGH", HTTPStatus: 409, Details: struct{ Missing int }{}},
			ErrorSpec{Code: "GONE", Description: "for good"})
		for name, err := range map[string]error{
			"own":        fmt.Errorf("wrapped: %w", &notEnough{7}),
			"declared":   fmt.Errorf("wrapped: %w", &CallError{Code: "GONE", Message: "gone", Retryable: true}),
			"undeclared": &CallError{Code: "SECRET", Message: "a secret"},
			"protocol":   &CallError{Code: CodeForbidden, Message: "a secret"},
			"other":      errors.New("a secret"),
			"details":    &CallError{Code: "GONE", Details: raw(`{`)},
		} {
			Handle(n, name, func(context.Context, struct{}) (int, error) { return 0, err }, declared)
		}
		Handle(n, "panic", func(context.Context, struct{}) (int, error) { panic("a secret") })
		Handle(n, "nil", func(context.Context, struct{}) (int, error) { var p *int; return *p, nil })
		Handle(n, "goexit", func(context.Context, struct{}) (int, error) { runtime.Goexit(); return 0, nil })
		Handle(n, "chan", func(context.Context, struct{}) (any, error) { return make(chan int), nil })
		Handle(n, "nan", func(context.Context, struct{}) (float64, error) { return math.NaN(), nil })
		Handle(n, "text", func(context.Context, struct{}) (json.RawMessage, error) { return raw(`{"a":`), nil })
		Handle(n, "utf8", func(context.Context, struct{}) (json.RawMessage, error) { return raw("\"\xff\""), nil })
		HandleStream(n, "stream", func(context.Context, struct{}) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) { yield(1, nil); panic("a secret") }
		})
	})
	var fault *CallError
	_, err := Call[int](bg, n, "own", nil)
	if !errors.As(err, &fault) || fault.Code != "NOT_ENOUGH" || string(fault.Details) != `{"missing":7}` {
		t.Fatal(err)
	}
	if !errors.Is(err, &CallError{Code: "NOT_ENOUGH"}) || errors.Is(err, &CallError{Code: "GONE"}) {
		t.Fatal("errors.Is goes by the code")
	}
	if status, body := post(t, n, "own", "{}"); status != 409 {
		t.Fatal(status, body)
	}
	_, err = Call[int](bg, n, "declared", nil)
	if !errors.As(err, &fault) || fault.Code != "GONE" || fault.Message != "gone" || !fault.Retryable || fault.Details != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"undeclared", "protocol", "other", "details", "panic", "nil", "goexit", "chan", "nan", "text", "utf8"} {
		_, err := Call[any](bg, n, name, nil)
		if !errors.As(err, &fault) || fault.Code != CodeInternal || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
		within(t, "a line of the log for "+name, func() bool { return strings.Contains(said.String(), "operation="+name) })
	}
	wantText(t, said, "a secret", "call_test.go", "runtime.Goexit")
	values := 0
	for _, err = range Subscribe[int](bg, n, "stream", nil) {
		values++
	}
	wantCode(t, err, CodeInternal)
	if values != 2 {
		t.Error(values, " pairs")
	}
}

// ---- contexts --------------------------------------------------------------------------------

func TestCancellingACallersContextAbortsTheCall(t *testing.T) {
	began, ended := make(chan context.Context, 1), make(chan error, 1)
	n := run(t, Options{}, func(n *Node) {
		Handle(n, "wait", func(ctx context.Context, _ struct{}) (int, error) {
			began <- ctx
			<-ctx.Done()
			ended <- ctx.Err()
			return 0, ctx.Err()
		})
	})
	ctx, cancel := context.WithCancelCause(bg)
	done := make(chan error, 1)
	go func() { done <- second(Call[int](ctx, n, "wait", nil)) }()
	wait(t, "the handler begins", began)
	cause := errors.New("the cause")
	cancel(cause)
	err := wait(t, "the call returns", done)
	wantCode(t, err, CodeAborted)
	if !errors.Is(err, context.Canceled) || !errors.Is(err, cause) || errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if err := wait(t, "the handler's context is done", ended); err != context.Canceled {
		t.Fatal(err)
	}
	if _, err := Call[int](ctx, n, "wait", nil); !errors.Is(err, context.Canceled) {
		t.Fatal("with a context that is done: ", err)
	}
}

func TestDeadlinesHoldOnBothSides(t *testing.T) {
	seen, ended := make(chan time.Duration, 1), make(chan error, 1)
	n := run(t, Options{Config: map[string]any{"limits": map[string]any{"deadline_ms": 400}}}, func(n *Node) {
		Handle(n, "wait", func(ctx context.Context, _ struct{}) (int, error) {
			deadline, _ := ctx.Deadline()
			seen <- time.Until(deadline)
			<-ctx.Done()
			ended <- ctx.Err()
			return 0, nil
		})
		Handle(n, "left", func(ctx context.Context, _ struct{}) (bool, error) {
			_, has := ctx.Deadline()
			return has, nil
		})
	})
	ctx, cancel := context.WithTimeout(bg, 300*time.Millisecond)
	defer cancel()
	_, err := Call[int](ctx, n, "wait", nil)
	wantCode(t, err, CodeTimeout)
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if left := wait(t, "the deadline", seen); left > 302*time.Millisecond {
		t.Fatal(left)
	}
	if err := wait(t, "the handler's context is done", ended); err != context.DeadlineExceeded && err != context.Canceled {
		t.Fatal(err)
	}
	// The node's own, of which the caller's context knows nothing.
	_, err = Call[int](bg, n, "wait", nil)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	<-seen
	if err := wait(t, "the handler's context is done", ended); err != context.DeadlineExceeded {
		t.Fatal(err)
	}
	for option, want := range map[string]bool{"default": true, "none": false} {
		var options []CallOption
		if option == "none" {
			options = append(options, NoTimeout())
		}
		if has, err := Call[bool](bg, n, "left", nil, options...); err != nil || has != want {
			t.Error(option, has, err)
		}
	}
	old, cancel := context.WithDeadline(bg, time.Now().Add(-time.Hour))
	defer cancel()
	_, err = Call[int](old, n, "wait", nil)
	wantCode(t, err, CodeTimeout)
}

// The contexts of handlers are of a type of their own, so what the standard library makes of them is
// worth a look.
func TestContextsDerivedFromAHandlersContext(t *testing.T) {
	type key struct{}
	results := make(chan string, 10)
	began := make(chan bool)
	var release sync.WaitGroup
	n := NewNode(Options{Logger: quiet})
	Handle(n, "wait", func(ctx context.Context, _ struct{}) (int, error) {
		began <- true
		if ctx.Value(key{}) != "value" {
			results <- "the values of Start's context are gone"
		}
		if fmt.Sprint(ctx) != "alknet call of wait" {
			results <- "it is written as " + fmt.Sprint(ctx)
		}
		if Info(context.WithValue(ctx, key{}, 1)) == nil {
			results <- "Info does not see through a derived context"
		}
		before := runtime.NumGoroutine()
		for range 100 {
			child, cancel := context.WithCancel(ctx)
			defer cancel()
			release.Add(1)
			context.AfterFunc(child, release.Done)
		}
		if after := runtime.NumGoroutine(); after > before+50 {
			results <- fmt.Sprintf("%d goroutines for 100 derived contexts", after-before)
		}
		stop := context.AfterFunc(ctx, func() { results <- "a function that was stopped has run" })
		if !stop() || stop() {
			results <- "stop does not say whether it has stopped"
		}
		child, cancel := context.WithTimeout(ctx, time.Hour)
		defer cancel()
		<-child.Done()
		if child.Err() != context.Canceled || context.Cause(ctx) != context.Canceled {
			results <- fmt.Sprint("the end is ", child.Err(), context.Cause(ctx))
		}
		late := make(chan bool)
		context.AfterFunc(ctx, func() { close(late) })
		<-late
		results <- "done"
		return 0, nil
	})
	if err := n.Start(context.WithValue(bg, key{}, "value")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(n) })
	ctx, cancel := context.WithTimeout(bg, time.Minute)
	defer cancel()
	go func() { <-began; time.Sleep(50 * time.Millisecond); cancel() }()
	if _, err := Call[int](ctx, n, "wait", nil); err == nil {
		t.Fatal("it has not been aborted")
	}
	if got := wait(t, "the handler returns", results); got != "done" {
		t.Fatal(got)
	}
	release.Wait()
}

// ---- what a handler knows --------------------------------------------------------------------

func TestInfo(t *testing.T) {
	infos := make(chan *CallInfo, 1)
	options := listening("demo:*", "other")
	options.Config = map[string]any{"log": map[string]any{"level": "info"}} // the address is for the log
	n := run(t, options, func(n *Node) {
		Handle(n, "tell", func(ctx context.Context, _ struct{}) (int, error) { infos <- Info(ctx); return 0, nil })
	})
	if Info(bg) != nil {
		t.Fatal("there is no call")
	}
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	me := Identity{ID: "me", Scopes: []string{"a", "b"}, Resources: map[string][]string{"file": {"x"}}}
	if _, err := Call[int](bg, n, "tell", nil, As(me), Traceparent(trace)); err != nil {
		t.Fatal(err)
	}
	info := <-infos
	if info.Operation != "tell" || info.RequestID == "" || info.Connection != nil || info.Traceparent != trace ||
		info.Deadline.IsZero() || fmt.Sprint(*info.Identity) != fmt.Sprint(me) || info.Originator == nil {
		t.Fatalf("%+v", info)
	}
	if status, body := post(t, n, "tell", "{}"); status != 200 {
		t.Fatal(body)
	}
	info = <-infos
	if info.Identity.ID != token[:8] || fmt.Sprint(info.Identity.Scopes) != "[demo:* other]" || !strings.HasPrefix(info.Address, "127.0.0.1") {
		t.Fatalf("%+v", info)
	}
	if _, err := Call[int](bg, n, "tell", nil); err != nil {
		t.Fatal(err)
	}
	if info = <-infos; info.Identity != nil || info.ForwardedFor != nil || info.ParentID != "" {
		t.Fatalf("%+v", info)
	}
}

func TestAccessAndVisibility(t *testing.T) {
	n := run(t, listening("demo:read"), func(n *Node) {
		Handle(n, "read", add, Access(AccessRule{RequiredScopes: []string{"demo:read"}}))
		Handle(n, "write", add, Access(AccessRule{RequiredScopesAny: []string{"demo:write"}, Authenticated: true}), Mutation())
		Handle(n, "file", func(_ context.Context, in map[string]string) (string, error) { return in["id"], nil },
			Access(AccessRule{ResourceType: "file", ResourceAction: "read"}), ResourceID("/id"))
		Handle(n, "inner", add, Internal())
	})
	for name, want := range map[string]int{"read": 200, "write": 403, "inner": 404} {
		if status, body := post(t, n, name, `{"a":1,"b":1}`); status != want {
			t.Error(name, status, body)
		}
	}
	_, err := Call[addOutput](bg, n, "read", addInput{})
	wantCode(t, err, CodeForbidden)
	if _, err := Call[addOutput](bg, n, "read", addInput{}, As(Identity{ID: "me", Scopes: []string{"demo:*"}})); err != nil {
		t.Error(err)
	}
	owner := As(Identity{ID: "me", Resources: map[string][]string{"file": {"x"}}})
	if _, err := Call[string](bg, n, "file", map[string]string{"id": "x"}, owner); err != nil {
		t.Error(err)
	}
	_, err = Call[string](bg, n, "file", map[string]string{"id": "y"}, owner)
	wantCode(t, err, CodeForbidden)
	spec, err := Call[map[string]any](bg, n, "services/schema", map[string]string{"name": "write"},
		As(Identity{ID: "me", Scopes: []string{"demo:write"}}))
	if err != nil || spec["op_type"] != "mutation" {
		t.Error(spec, err)
	}
}

func TestNestedCalls(t *testing.T) {
	inner, late := make(chan *CallInfo, 1), make(chan error, 1)
	n := run(t, Options{}, func(n *Node) {
		Handle(n, "fs/read", func(ctx context.Context, in string) (string, error) { inner <- Info(ctx); return "read " + in, nil },
			Access(AccessRule{RequiredScopes: []string{"fs"}}))
		Handle(n, "fs/wait", func(ctx context.Context, _ struct{}) (int, error) {
			inner <- Info(ctx)
			<-ctx.Done()
			inner <- nil
			return 0, nil
		},
			Access(AccessRule{RequiredScopes: []string{"fs"}}))
		HandleStream(n, "fs/list", func(context.Context, struct{}) iter.Seq2[int, error] { return count(3) })
		Handle(n, "other", add)
		environment := []OperationOption{Authority(Identity{ID: "reader", Scopes: []string{"fs"}}), Environment("fs/*")}
		Handle(n, "outer", func(ctx context.Context, in string) (string, error) {
			for name := range map[string]bool{"other": true, "nothing": true} {
				if _, err := Call[any](ctx, Nested, name, addInput{}); !errors.Is(err, &CallError{Code: CodeNotFound}) && !errors.Is(err, &CallError{Code: CodeForbidden}) {
					return "", fmt.Errorf("%s: %w", name, err)
				}
			}
			sum := 0
			for v, err := range Subscribe[int](ctx, Nested, "fs/list", nil) {
				if err != nil {
					return "", err
				}
				sum += v
			}
			if sum != 3 {
				return "", fmt.Errorf("the sum is %d", sum)
			}
			child, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			return Call[string](child, Nested, "fs/read", in)
		}, environment...)
		Handle(n, "waits", func(ctx context.Context, _ struct{}) (int, error) {
			return Call[int](ctx, Nested, "fs/wait", nil)
		}, environment...)
		Handle(n, "late", func(ctx context.Context, _ struct{}) (int, error) {
			go func() {
				<-ctx.Done()
				_, err := Call[string](context.WithoutCancel(ctx), Nested, "fs/read", "x")
				late <- err
			}()
			return 0, nil
		}, environment...)
	})
	if out, err := Call[string](bg, n, "outer", "x", As(Identity{ID: "me"})); err != nil || out != "read x" {
		t.Fatal(out, err)
	}
	info := wait(t, "the inner call", inner)
	if info.Identity.ID != "handler:reader" || info.Originator.ID != "me" || info.ParentID == "" {
		t.Fatalf("%+v %+v %+v", info, info.Identity, info.Originator)
	}
	ctx, cancel := context.WithCancel(bg)
	done := make(chan error, 1)
	go func() { done <- second(Call[int](ctx, n, "waits", nil)) }()
	if info := wait(t, "the inner call", inner); info.Deadline.IsZero() {
		t.Fatal("the outer call's deadline is not the inner one's")
	}
	cancel()
	wantCode(t, wait(t, "the outer call returns", done), CodeAborted)
	if wait(t, "the inner call ends with the outer one", inner) != nil {
		t.Fatal("another call")
	}
	if _, err := Call[int](bg, n, "late", nil); err != nil {
		t.Fatal(err)
	}
	wantCode(t, wait(t, "a call of a call that is over", late), CodeAborted)
	if _, err := Call[int](bg, Nested, "fs/list", nil); err == nil || !strings.Contains(err.Error(), "handler") {
		t.Fatal("outside of a handler: ", err)
	}
}

func TestWhatANestedCallHasStartedMayGoOn(t *testing.T) {
	for _, goesOn := range []bool{false, true} {
		began, goOn, inner := make(chan bool, 1), make(chan bool), make(chan error, 1)
		n := run(t, Options{}, func(n *Node) {
			Handle(n, "inner", func(ctx context.Context, _ struct{}) (int, error) {
				began <- true
				select {
				case <-goOn:
				case <-ctx.Done():
				}
				inner <- ctx.Err()
				return 0, nil
			})
			Handle(n, "outer", func(ctx context.Context, _ struct{}) (int, error) {
				var options []CallOption
				if goesOn {
					options = append(options, ContinueRunning())
				}
				go Call[int](context.WithoutCancel(ctx), Nested, "inner", nil, options...)
				<-began
				return 1, nil
			}, Authority(Identity{ID: "outer"}), Environment("inner"))
		})
		if _, err := Call[int](bg, n, "outer", nil); err != nil {
			t.Fatal(err)
		}
		if goesOn {
			time.Sleep(20 * time.Millisecond)
			close(goOn)
		}
		if err := wait(t, "the inner call ends", inner); (err == nil) != goesOn {
			t.Error(goesOn, err)
		}
	}
}

func count(to int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range to {
			if !yield(i, nil) {
				return
			}
		}
	}
}

func echo[T any](_ context.Context, in T) (T, error) { return in, nil }
