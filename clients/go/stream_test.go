package alknet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestSubscribe(t *testing.T) {
	n := run(t, Options{}, func(n *Node) {
		HandleStream(n, "count", func(_ context.Context, to int) iter.Seq2[int, error] { return count(to) })
		HandleStream(n, "fail", func(context.Context, struct{}) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				if yield(1, nil) && yield(0, &CallError{Code: "GONE"}) {
					panic("it goes on")
				}
			}
		}, Errors(ErrorSpec{Code: "GONE"}))
		Handle(n, "demo/add", add)
	})
	values := Subscribe[int](bg, n, "count", 1000)
	for range 2 { // each range is a subscription of its own
		next := 0
		for v, err := range values {
			if err != nil || v != next {
				t.Fatal(v, next, err)
			}
			next++
		}
		if next != 1000 {
			t.Fatal(next)
		}
	}
	for v, err := range Subscribe[int](bg, n, "count", 0) {
		t.Fatal(v, err)
	}
	var got []string
	for v, err := range Subscribe[int](bg, n, "fail", nil) {
		got = append(got, fmt.Sprint(v, err))
	}
	if fmt.Sprint(got) != "[1 <nil> 0 GONE]" {
		t.Fatal(got)
	}
	for _, err := range Subscribe[string](bg, n, "count", 2) {
		if err == nil {
			t.Fatal("a value that is no string")
		}
	}
	for _, err := range Subscribe[int](bg, n, "nothing", 2) {
		wantCode(t, err, CodeNotFound)
	}
	for _, err := range Subscribe[int](bg, n, "demo/add", addInput{}) {
		wantCode(t, err, CodeInvalidOperationType)
	}
	for _, err := range Subscribe[int](bg, n, "count", raw("1180591620717411303424")) {
		wantCode(t, err, CodeInvalidInput)
	}
	_, err := Call[int](bg, n, "count", 1)
	wantCode(t, err, CodeInvalidOperationType)
}

// forever counts, and tells how far it came and when it was left.
func forever(n *Node, name string, far *atomic.Int64, left chan<- error) {
	HandleStream(n, name, func(ctx context.Context, _ struct{}) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			for i := 0; yield(i, nil); i++ {
				far.Store(int64(i))
			}
			<-ctx.Done()
			left <- ctx.Err()
		}
	})
}

func TestLeavingTheLoopAbortsTheSubscription(t *testing.T) {
	var far atomic.Int64
	left := make(chan error, 1)
	n := run(t, Options{}, func(n *Node) { forever(n, "forever", &far, left) })
	for v, err := range Subscribe[int](bg, n, "forever", nil) {
		if err != nil {
			t.Fatal(err)
		}
		if v == 3 {
			break
		}
	}
	if err := wait(t, "the sequence is left", left); err != context.Canceled {
		t.Fatal(err)
	}
	func() {
		defer func() { recover() }()
		for range Subscribe[int](bg, n, "forever", nil) {
			panic("in the loop")
		}
	}()
	wait(t, "the sequence is left", left)
	for range Subscribe[int](bg, n, "forever", nil) {
		before := int64(-1)
		within(t, "the sequence comes to stand still", func() bool {
			time.Sleep(50 * time.Millisecond)
			still := before == far.Load()
			before = far.Load()
			return still
		})
		break
	}
	wait(t, "the sequence is left while it waits for its reader", left)
	ctx, cancel := context.WithCancel(bg)
	var last error
	for v, err := range Subscribe[int](ctx, n, "forever", nil) {
		if v == 3 {
			cancel()
		}
		last = err
	}
	wantCode(t, last, CodeAborted)
	wait(t, "the sequence is left", left)
	ctx, cancel = context.WithTimeout(bg, 300*time.Millisecond)
	defer cancel()
	for _, err := range Subscribe[int](ctx, n, "forever", nil) {
		last = err
	}
	if !errors.Is(last, context.DeadlineExceeded) {
		t.Fatal(last)
	}
	wait(t, "the sequence is left", left)
}

func TestASlowReaderHoldsTheSequenceUp(t *testing.T) {
	var far atomic.Int64
	left := make(chan error, 1)
	folder := files(t)
	pin := key(t, filepath.Join(folder, "node.key"))
	key(t, filepath.Join(folder, "client.key"))
	options := listening()
	options.Config = map[string]any{"node_key": filepath.Join(folder, "node.key"), "anonymous_peers": true,
		"listen": []any{map[string]any{"host": "127.0.0.1", "port": 0, "quic": true}}}
	n := run(t, options, func(n *Node) { forever(n, "forever", &far, left) })
	stands := func() int64 {
		before := far.Load()
		within(t, "the sequence comes to stand still", func() bool {
			time.Sleep(100 * time.Millisecond)
			still := before == far.Load()
			before = far.Load()
			return still
		})
		return before
	}
	reads := func(name string, on Caller) {
		seen := 0
		for v, err := range Subscribe[int](bg, on, "forever", nil) {
			if err != nil || v != seen {
				t.Fatal(name, v, seen, err)
			}
			if seen++; seen == 1 {
				if far := stands(); far > 100_000 {
					t.Fatal(name, ": it came to ", far)
				}
			}
			if seen == 120_000 {
				break
			}
		}
		wait(t, "the sequence is left", left)
	}
	reads("here", n)
	conn, err := Dial(bg, fmt.Sprintf("alknet://127.0.0.1:%d", n.Listening()[0].Port), Pin(pin), Key(filepath.Join(folder, "client.key")))
	if err != nil {
		t.Fatal(err)
	}
	reads("there", conn)
	conn.Close()
	// A WebSocket has one stream for all calls, so that one of them cannot be held back for long.
	conn, err = Dial(bg, fmt.Sprintf("ws://127.0.0.1:%d", n.Listening()[1].Port), Token(token))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	seen := 0
	for v, err := range Subscribe[int](bg, conn, "forever", nil) {
		if err != nil {
			wantCode(t, err, "TOO_SLOW")
			return
		}
		if v != seen {
			t.Fatal(v, seen)
		}
		if seen++; seen == 1 {
			stands()
		}
	}
}

func TestStreamsOverHTTP(t *testing.T) {
	n := run(t, listening(), func(n *Node) {
		HandleStream(n, "count", func(_ context.Context, to int) iter.Seq2[int, error] { return count(to) })
	})
	answer, err := http.Get("http://" + base(n) + "/subscribe?operation=count&input=3")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var data []string
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			data = append(data, text)
		}
	}
	if !strings.HasPrefix(fmt.Sprint(data), "[0 1 2") {
		t.Fatal(data)
	}
}

// A stream whose values are long is held back by their bytes.
func TestLongValues(t *testing.T) {
	text := strings.Repeat("x", 100_000)
	n := run(t, Options{}, func(n *Node) {
		HandleStream(n, "long", func(_ context.Context, to int) iter.Seq2[string, error] {
			return func(yield func(string, error) bool) {
				for range to {
					if !yield(text, nil) {
						return
					}
				}
			}
		})
	})
	seen := 0
	for v, err := range Subscribe[string](bg, n, "long", 100) {
		if err != nil || v != text {
			t.Fatal(len(v), err)
		}
		seen++
	}
	if seen != 100 {
		t.Fatal(seen)
	}
}
