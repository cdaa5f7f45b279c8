package alknet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Nothing may be left when all is over: no goroutine of the package, and no descriptor.
func TestMain(m *testing.M) {
	// What the process opens once and for all, it has opened then.
	n := NewNode(Options{Logger: quiet})
	if err := n.Start(bg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	kill(n)
	exec.Command("true").Run()
	descriptors := openDescriptors()
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if code == 0 {
		if left := eventually(10*time.Second, func() string {
			if stacks := ourGoroutines(); stacks != "" {
				return "goroutines are left:\n" + stacks
			}
			if now := openDescriptors(); now > descriptors {
				return fmt.Sprintf("%d descriptors were open before, now %d", descriptors, now)
			}
			return ""
		}); left != "" {
			fmt.Fprintln(os.Stderr, left)
			code = 1
		}
	}
	os.Exit(code)
}

func openDescriptors() int {
	files, _ := os.ReadDir("/proc/self/fd")
	return len(files)
}

// ourGoroutines are the stacks in which this package is, but for that of TestMain.
func ourGoroutines() string {
	buf := make([]byte, 1<<22)
	var ours []string
	for _, stack := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(stack, "alknet-go.") && !strings.Contains(stack, "TestMain") {
			ours = append(ours, stack)
		}
	}
	return strings.Join(ours, "\n\n")
}

// eventually asks until the answer is "", and returns the last one.
func eventually(within time.Duration, ask func() string) string {
	end := time.Now().Add(within)
	for {
		answer := ask()
		if answer == "" || time.Now().After(end) {
			return answer
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if eventually(20*time.Second, func() string {
		if ok() {
			return ""
		}
		return "not yet"
	}) != "" {
		t.Fatalf("never happened: %s", what)
	}
}

func wait[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("never happened: %s", what)
		panic("unreachable")
	}
}

// ---- a node ----------------------------------------------------------------------------------

type addInput struct {
	A int `json:"a"`
	B int `json:"b"`
}

type addOutput struct {
	Sum int `json:"sum"`
}

func add(_ context.Context, in addInput) (addOutput, error) { return addOutput{in.A + in.B}, nil }

// logs collects what a node logs.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// run starts a node with what set gives it, and stops it when the test is over.
func run(t testing.TB, options Options, set func(n *Node)) *Node {
	t.Helper()
	if options.Logger == nil {
		options.Logger = quiet
	}
	n := NewNode(options)
	if set != nil {
		set(n)
	}
	if err := n.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(n) })
	return n
}

// kill stops a node at once, if it has not stopped.
func kill(n *Node) {
	n.Stop(doneContext)
	<-n.Done()
}

const token = "alk_test_token_of_the_go_client"

// listening are options of a node on loopback, with one token.
func listening(scopes ...string) Options {
	return Options{Listen: []string{"127.0.0.1:0"}, Tokens: map[string]Identity{token: {Scopes: scopes}}}
}

func base(n *Node) string { return fmt.Sprintf("127.0.0.1:%d", n.Listening()[0].Port) }

// post calls an operation over HTTP; header: names, each with its value.
func post(t testing.TB, n *Node, operation, input string, header ...string) (status int, body string) {
	t.Helper()
	text := fmt.Sprintf(`{"operation":%q,"input":%s}`, operation, input)
	rq, err := http.NewRequest("POST", "http://"+base(n)+"/call", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	rq.Header.Set("Content-Type", "application/json")
	rq.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(header); i += 2 {
		rq.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(rq)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(got)
}

// codeOf is the code of a *CallError, or what the error is instead.
func codeOf(err error) string {
	if e, ok := err.(*CallError); ok {
		return e.Code
	}
	return fmt.Sprintf("%T %v", err, err)
}

func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	if codeOf(err) != code {
		t.Fatalf("want %s, got %v", code, err)
	}
}

func wantText(t testing.TB, got any, parts ...string) {
	t.Helper()
	text := fmt.Sprint(got)
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Fatalf("%q is not in %q", part, text)
		}
	}
}

func raw(text string) json.RawMessage { return json.RawMessage(text) }

var bg = context.Background()
