package alknet

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// waiting serves an operation that ends with its call, and counts how many run.
func waiting(n *Node, running *atomic.Int64) {
	Handle(n, "wait", func(ctx context.Context, _ struct{}) (int, error) {
		running.Add(1)
		defer running.Add(-1)
		<-ctx.Done()
		return 0, ctx.Err()
	})
}

func TestManyCallsCancelledAtOnce(t *testing.T) {
	many := 100_000
	var running atomic.Int64
	n := run(t, Options{}, func(n *Node) { waiting(n, &running); Handle(n, "demo/add", add) })
	ctx, cancel := context.WithCancel(bg)
	var all sync.WaitGroup
	var wrong atomic.Int64
	for range many {
		all.Add(1)
		go func() {
			defer all.Done()
			// Some are refused before they begin: there may be so many below one caller.
			if _, err := Call[int](ctx, n, "wait", nil, NoTimeout()); !errors.Is(err, context.Canceled) && codeOf(err) != CodeBusy {
				wrong.Add(1)
			}
		}()
	}
	within(t, "ten thousand run", func() bool { return running.Load() > 10_000 })
	cancel()
	all.Wait()
	if wrong.Load() > 0 {
		t.Fatal(wrong.Load(), " did not end as cancelled")
	}
	within(t, "no handler runs", func() bool { return running.Load() == 0 })
	if out, err := Call[addOutput](bg, n, "demo/add", addInput{1, 2}); err != nil || out.Sum != 3 {
		t.Fatal(out, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.waiting) != 0 {
		t.Fatal(len(n.waiting), " calls are waited for")
	}
}

// A queue towards the library that is full makes callers wait, and those give up whose time is over.
func TestMoreCallsThanTheQueueHolds(t *testing.T) {
	n := run(t, Options{QueueEvents: 1}, func(n *Node) { Handle(n, "demo/add", add) })
	ctx, cancel := context.WithTimeout(bg, 100*time.Millisecond)
	defer cancel()
	codes := make(chan string, 1000)
	for i := range cap(codes) {
		go func() {
			on := bg
			if i%2 == 0 {
				on = ctx
			}
			_, err := Call[addOutput](on, n, "demo/add", addInput{1, 2})
			if err != nil {
				codes <- codeOf(err)
			} else {
				codes <- ""
			}
		}()
	}
	how := map[string]int{}
	for range cap(codes) {
		how[wait(t, "a call ends", codes)]++
	}
	if how[""]+how[CodeBusy]+how[CodeTimeout] != cap(codes) {
		t.Error(how)
	}
	within(t, "all is right again", func() bool {
		_, err := Call[addOutput](bg, n, "demo/add", addInput{1, 2})
		return err == nil
	})
}

func TestStopWhileTenThousandRun(t *testing.T) {
	const many = 10_000
	var running atomic.Int64
	n := run(t, Options{}, func(n *Node) { waiting(n, &running) })
	var all sync.WaitGroup
	var wrong atomic.Int64
	for range many {
		all.Add(1)
		go func() {
			defer all.Done()
			var fault *CallError
			if _, err := Call[int](bg, n, "wait", nil, NoTimeout()); !errors.As(err, &fault) && err != ErrNotRunning {
				wrong.Add(1)
			}
		}()
	}
	within(t, "they run", func() bool { return running.Load() == many })
	kill(n)
	all.Wait()
	if wrong.Load() > 0 {
		t.Fatal(wrong.Load(), " calls did not fail")
	}
	within(t, "no handler runs", func() bool { return running.Load() == 0 })
}

// Calls, subscriptions and answers go on while the node stops under them.
func TestStopInTheMiddleOfEverything(t *testing.T) {
	for round := range 20 {
		n := NewNode(Options{Logger: quiet})
		Handle(n, "demo/add", add)
		HandleStream(n, "count", func(_ context.Context, to int) seq { return count(to) })
		if err := n.Start(bg); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for i := range 16 {
			all.Add(1)
			go func() {
				defer all.Done()
				for {
					var err error
					if i%4 == 0 {
						for _, err = range Subscribe[int](bg, n, "count", 1_000_000) {
						}
					} else {
						_, err = Call[addOutput](bg, n, "demo/add", addInput{i, 1})
					}
					if err != nil {
						return
					}
				}
			}()
		}
		time.Sleep(time.Duration(round) * time.Millisecond)
		kill(n)
		all.Wait()
	}
}

func TestStopFromAHandler(t *testing.T) {
	n := run(t, Options{}, func(n *Node) {
		Handle(n, "stop", func(ctx context.Context, _ struct{}) (string, error) { return "stopping", n.Stop(ctx) })
	})
	if out, err := Call[string](bg, n, "stop", nil); err != nil || out != "stopping" {
		t.Fatal(out, err)
	}
	wait(t, "it has stopped", n.Done())

	// It waits for itself, until limits.drain_ms ends that.
	n = run(t, Options{Config: map[string]any{"limits": map[string]any{"drain_ms": 50}}}, func(n *Node) {
		Handle(n, "stop", func(ctx context.Context, _ struct{}) (string, error) { return "late", n.Stop(bg) })
	})
	if out, err := Call[string](bg, n, "stop", nil); err == nil {
		t.Fatal(out)
	}
	wait(t, "it has stopped", n.Done())
}

func TestManyStopAtOnce(t *testing.T) {
	var running atomic.Int64
	n := run(t, Options{Config: map[string]any{"limits": map[string]any{"drain_ms": 50}}}, func(n *Node) { waiting(n, &running) })
	go Call[int](bg, n, "wait", nil)
	within(t, "it runs", func() bool { return running.Load() == 1 })
	done := make(chan error, 10)
	for range 10 {
		go func() { done <- n.Stop(bg) }()
	}
	for range 10 {
		if err := wait(t, "a stop", done); err != nil {
			t.Error(err)
		}
	}
}

func TestStopFromACleanup(t *testing.T) {
	n := run(t, Options{}, func(n *Node) { Handle(n, "demo/add", add) })
	func() {
		owner := &struct{ big [64]byte }{}
		runtime.AddCleanup(owner, func(n *Node) { n.Stop(bg) }, n)
		if _, err := Call[addOutput](bg, n, "demo/add", addInput{len(owner.big), 2}); err != nil {
			t.Fatal(err)
		}
	}()
	within(t, "it has stopped", func() bool { runtime.GC(); return n.isStopped() })
}

func TestGarbageCollectionInTheMiddleOfCalls(t *testing.T) {
	n := run(t, Options{}, func(n *Node) {
		Handle(n, "demo/echo", func(_ context.Context, in []string) ([]string, error) { runtime.GC(); return in, nil })
	})
	over := make(chan bool)
	go func() {
		for {
			select {
			case <-over:
				return
			default:
				runtime.GC()
			}
		}
	}()
	defer close(over)
	var all sync.WaitGroup
	for i := range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			for j := range 20 {
				in := []string{fmt.Sprint(i, j), "x", ""}
				out, err := Call[[]string](bg, n, "demo/echo", in, As(Identity{ID: fmt.Sprint(i)}))
				if err != nil || fmt.Sprint(out) != fmt.Sprint(in) {
					t.Error(out, err)
				}
			}
		}()
	}
	all.Wait()
}

func TestAHandlerThatNeverReturns(t *testing.T) {
	release := make(chan bool)
	n := run(t, Options{}, func(n *Node) {
		Handle(n, "hang", func(context.Context, struct{}) (int, error) { <-release; return 1, nil })
		HandleStream(n, "late", func(ctx context.Context, _ struct{}) seq {
			return func(yield func(int, error) bool) {
				<-ctx.Done()
				if yield(1, nil) {
					t.Error("a value after the end is taken")
				}
			}
		})
	})
	ctx, cancel := context.WithTimeout(bg, 200*time.Millisecond)
	defer cancel()
	_, err := Call[int](ctx, n, "hang", nil)
	wantCode(t, err, CodeTimeout)
	ctx, cancel = context.WithTimeout(bg, 200*time.Millisecond)
	defer cancel()
	for _, err = range Subscribe[int](ctx, n, "late", nil) {
	}
	wantCode(t, err, CodeTimeout)
	close(release) // its answer comes too late, and is dropped
}

// Who logs slowly holds up nobody, and is told what he has missed.
func TestALoggerThatIsSlow(t *testing.T) {
	said, goOn := &logs{}, make(chan bool)
	options := Options{Config: map[string]any{"log": map[string]any{"level": "info"}}, Logger: slog.New(slowHandler{said.logger().Handler(), goOn})}
	n := run(t, options, func(n *Node) { Handle(n, "demo/add", add) })
	for range 2000 {
		if _, err := Call[addOutput](bg, n, "demo/add", addInput{1, 2}); err != nil {
			t.Fatal(err)
		}
	}
	close(goOn)
	within(t, "the lines are counted", func() bool { return strings.Contains(said.String(), "lines lost") })
}

type slowHandler struct {
	slog.Handler
	goOn chan bool
}

func (h slowHandler) Handle(ctx context.Context, r slog.Record) error {
	<-h.goOn
	return h.Handler.Handle(ctx, r)
}

// Another program that reads no events, while calls come: they get BUSY, and all is right again once
// the events are read.
func TestAQueueThatNobodyReads(t *testing.T) {
	options := listening()
	options.QueueEvents = 16
	text, _, err := options.text()
	if err != nil {
		t.Fatal(err)
	}
	n := NewNode(options)
	n.options.Logger, n.logger = quiet, quiet
	Handle(n, "demo/add", add)
	h, err := newHost(text, "", &options, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.add(n.operations[0], 0); err != nil {
		t.Fatal(err)
	}
	if err := h.start(); err != nil {
		t.Fatal(err)
	}
	n.host.Store(h)
	go n.writeLogs()
	h.drain(n.handle)
	const many = 64
	codes := make(chan string, many)
	for range many {
		go func() {
			_, err := Call[addOutput](bg, n, "demo/add", addInput{1, 2})
			if err != nil {
				codes <- codeOf(err)
			} else {
				codes <- ""
			}
		}()
	}
	within(t, "events wait", func() bool { // one that is taken waits for nobody who reads it
		status, _ := post(t, n, "demo/add", `{"a":1,"b":2}`, "X-Timeout-Ms", "200")
		return status == 503
	})
	go n.poll(h)
	busy := 0
	for range many {
		switch code := wait(t, "a call ends", codes); code {
		case CodeBusy:
			busy++
		case "":
		default:
			t.Error(code)
		}
	}
	if busy == 0 || busy == many {
		t.Error(busy, " were refused")
	}
	within(t, "all is right again", func() bool {
		status, _ := post(t, n, "demo/add", `{"a":1,"b":2}`)
		return status == 200
	})
	kill(n)
}

// What the functions of the host say to ids that are over, or never were.
func TestIdsThatAreOver(t *testing.T) {
	ids := make(chan *serving, 1)
	n := run(t, Options{}, func(n *Node) {
		Handle(n, "tell", func(ctx context.Context, _ struct{}) (int, error) { ids <- servingOf(ctx); return 1, nil })
	})
	if _, err := Call[int](bg, n, "tell", nil); err != nil {
		t.Fatal(err)
	}
	h := n.host.Load()
	for _, id := range []uint64{(<-ids).id, 0, 1, 1 << 40, ^uint64(0)} {
		for what, rc := range map[string]int{
			"reply": h.reply(id, []byte("1")), "emit": h.emit(id, []byte("1")), "complete": h.complete(id),
			"fail": h.fail(id, []byte(`{"code":"X"}`)), "pause": h.pause(id, true), "abort": h.abort(id),
		} {
			if rc != ended {
				t.Error(id, what, rc)
			}
		}
		if _, rc := h.call("tell", []byte("{}"), &callSpec{parent: id | 1<<50}, 0); rc != ended {
			t.Error(id, "parent", rc)
		}
		if _, rc := h.call("tell", []byte("{}"), &callSpec{connection: id | 1<<50}, 0); rc != ended {
			t.Error(id, "connection", rc)
		}
	}
	kill(n)
	within(t, "it is freed", func() bool { h.mu.RLock(); defer h.mu.RUnlock(); return h.c == nil })
	for what, rc := range map[string]int{
		"reply": h.reply(1, []byte("1")), "emit": h.emit(1, []byte("1")), "complete": h.complete(1),
		"fail": h.fail(1, []byte(`{"code":"X"}`)), "pause": h.pause(1, true), "abort": h.abort(1), "stop": h.stop(false),
		"reload": h.reload(nil),
	} {
		if rc != closed {
			t.Error(what, rc)
		}
	}
	if _, rc := h.call("tell", nil, &callSpec{}, 0); rc != closed {
		t.Error("call", rc)
	}
	if _, err := h.dial(nil, 0); err != ErrNotRunning {
		t.Error("dial", err)
	}
}

func TestTwoNodesInOneProcess(t *testing.T) {
	nodes := make([]*Node, 8)
	for i := range nodes {
		nodes[i] = run(t, listening(), func(n *Node) {
			Handle(n, "number", func(context.Context, struct{}) (int, error) { return i, nil })
		})
	}
	for i, n := range nodes {
		if out, err := Call[int](bg, n, "number", nil); err != nil || out != i {
			t.Error(i, out, err)
		}
		if status, body := post(t, n, "number", "{}"); status != 200 {
			t.Error(status, body)
		}
	}
}

type seq = iter.Seq2[int, error]

// resident is the memory of the process, C's included, in bytes.
func resident(t *testing.T) int {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var all, here int
	fmt.Sscan(string(text), &all, &here)
	return here * os.Getpagesize()
}

// In a process of its own, where nobody else's garbage is.
func TestNothingIsKeptOfCallsThatAreOver(t *testing.T) {
	if os.Getenv("ALKNET_TEST_ALONE") == "" {
		again := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		again.Env = append(os.Environ(), "ALKNET_TEST_ALONE=1")
		if out, err := again.CombinedOutput(); err != nil {
			t.Fatal(err, string(out))
		}
		return
	}
	n := run(t, Options{}, func(n *Node) {
		Handle(n, "demo/echo", func(_ context.Context, in string) (string, error) { return in, nil })
	})
	who := As(Identity{ID: strings.Repeat("x", 20_000)})
	calls := func(times int) {
		for range times {
			if _, err := Call[string](bg, n, "demo/echo", "x", who, Traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")); err != nil {
				t.Fatal(err)
			}
		}
		debug.FreeOSMemory()
	}
	calls(500)
	before := resident(t)
	calls(1500)
	if more := resident(t) - before; more > 1500*20_000/3 {
		t.Fatal(more, " bytes more")
	}
}
