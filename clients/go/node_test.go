package alknet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestOptionsBecomeAConfiguration(t *testing.T) {
	options := Options{
		Config: struct {
			Keys []any          `json:"keys"`
			Log  map[string]any `json:"log"`
		}{[]any{map[string]any{"prefix": "12345678"}}, map[string]any{}},
		Listen: []string{"127.0.0.1:80", ":0", "[::1]:1", "unix:/run/x"},
		Tokens: map[string]Identity{
			"12345678-secret-of-a-key":  {Scopes: []string{"a"}},
			"abcdefgh-secret-of-a-peer": {ID: "peer", Scopes: []string{"b"}, Resources: map[string][]string{"file": {"x"}}},
		},
	}
	text, file, err := options.text()
	if err != nil || file != "" {
		t.Fatal(err)
	}
	var got, want any
	json.Unmarshal(text, &got)
	json.Unmarshal([]byte(`{
		"keys": [{"prefix": "12345678"}, {"prefix": "12345678", "scopes": ["a"],
			"hash": "x"}],
		"listen": [{"host": "127.0.0.1", "port": 80}, {"host": "::", "port": 0}, {"host": "::1", "port": 1}, {"unix": "/run/x"}],
		"log": {"level": "warn"},
		"peers": [{"peer_id": "peer", "auth_token_hashes": ["x"], "scopes": ["b"], "resources": {"file": ["x"]}, "websocket": true}]}`), &want)
	hashes := func(v any) (string, string) {
		m := v.(map[string]any)
		a := m["keys"].([]any)[1].(map[string]any)
		b := m["peers"].([]any)[0].(map[string]any)
		ha, hb := fmt.Sprint(a["hash"]), fmt.Sprint(b["auth_token_hashes"])
		a["hash"], b["auth_token_hashes"] = "", ""
		return ha, hb
	}
	a, b := hashes(got)
	hashes(want)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%v\n%v", got, want)
	}
	if len(a) != 64 || len(b) != 66 || strings.Contains(string(text), "secret") {
		t.Fatal(a, b)
	}
}

func TestOptionsThatAreWrong(t *testing.T) {
	folder := files(t)
	for what, options := range map[string]Options{
		"Listen":               {Listen: []string{"nonsense"}},
		"\"127.0.0.1:65536\"":  {Listen: []string{"127.0.0.1:65536"}},
		"host":                 {Listen: []string{"localhost:0"}},
		"NUL":                  {Listen: []string{"unix:\x00"}},
		"24 to 4096":           {Tokens: map[string]Identity{"short": {}}},
		"24 to 4096 ":          {Tokens: map[string]Identity{token + " x": {}}},
		"Resources need an ID": {Tokens: map[string]Identity{token: {Resources: map[string][]string{"a": {"b"}}}}},
		"Config: json":         {Config: make(chan int)},
		"Config":               {Config: []int{1}},
		"keys: must be a list": {Config: map[string]any{"keys": 1}, Tokens: map[string]Identity{token: {}}},
		"log: must be":         {Config: map[string]any{"log": 1}},
		"nothing":              {Config: map[string]any{"nothing": 1}},
		"limits.batch":         {Config: map[string]any{"limits": map[string]any{"batch": -1}}},
		"demo":                 {Config: map[string]any{"demo": true}},
		"stands in place":      {ConfigFile: "x", Listen: []string{":0"}},
		"no such file":         {ConfigFile: folder + "/nothing"},
		"permission denied":    {Listen: []string{"unix:/proc/nothing"}},
	} {
		n := NewNode(options)
		err := n.Start(bg)
		if err == nil {
			t.Errorf("%s: it starts", what)
			kill(n)
		} else if what != "permission denied" && !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
		if err := n.Start(bg); err == nil {
			t.Errorf("%s: it starts at the second time", what)
		}
	}
}

func TestConfigFiles(t *testing.T) {
	folder := files(t)
	yaml := filepath.Join(folder, "node.yaml")
	os.WriteFile(yaml, []byte("listen:\n  - {host: 127.0.0.1, port: 0}\n  - unix: sock\n"), 0o600)
	n := run(t, Options{ConfigFile: yaml}, nil)
	if at := n.Listening(); len(at) != 2 || at[0].Port == 0 || at[1].Path != filepath.Join(folder, "sock") {
		t.Fatalf("%+v", at)
	}
	os.WriteFile(yaml, []byte("listen:\n  - {host: 127.0.0.1, port: 0}\nnothing: 1\n"), 0o600)
	if err := NewNode(Options{ConfigFile: yaml}).Start(bg); err == nil || !strings.Contains(err.Error(), "node.yaml:3: there is no member \"nothing\"") {
		t.Fatal(err)
	}
	if err := n.Reload(bg, Options{ConfigFile: yaml}); err == nil || !strings.Contains(err.Error(), "node.yaml:3: there is no member \"nothing\"") {
		t.Fatal(err)
	}
}

func TestCheckOpensNothing(t *testing.T) {
	socket := filepath.Join(files(t), "s")
	n := NewNode(Options{Listen: []string{"unix:" + socket}})
	Handle(n, "demo/add", add)
	if err := n.Check(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(socket); err == nil {
		t.Fatal("it is open")
	}
	if err := NewNode(Options{Config: map[string]any{"nothing": 1}}).Check(); err == nil {
		t.Fatal("a bad configuration")
	}
}

func TestReload(t *testing.T) {
	n := run(t, listening(), func(n *Node) { Handle(n, "demo/add", add, Access(AccessRule{Authenticated: true})) })
	if status, body := post(t, n, "demo/add", `{"a":1,"b":2}`); status != 200 {
		t.Fatal(status, body)
	}
	options := listening()
	options.Listen = []string{fmt.Sprintf("127.0.0.1:%d", n.Listening()[0].Port)}
	options.Tokens = map[string]Identity{"alk_another_token_of_the_client": {}}
	if err := n.Reload(bg, options); err != nil {
		t.Fatal(err)
	}
	if status, body := post(t, n, "demo/add", `{"a":1,"b":2}`); status != 401 {
		t.Fatal(status, body)
	}
	options.Config = map[string]any{"nothing": 1}
	if err := n.Reload(bg, options); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Fatal(err)
	}
	if err := n.Reload(bg, Options{Listen: []string{"x"}}); err == nil {
		t.Fatal("options that are wrong")
	}
	// Many at a time each have an answer of their own.
	answers := make(chan error, 20)
	for i := range 20 {
		go func() {
			o := options
			o.Config = map[string]any{}
			if i%2 == 0 {
				o.Config = map[string]any{fmt.Sprintf("wrong%d", i): 1}
			}
			err := n.Reload(bg, o)
			if (err != nil) != (i%2 == 0) || err != nil && !strings.Contains(err.Error(), fmt.Sprintf("wrong%d", i)) {
				answers <- fmt.Errorf("%d: %w", i, err)
				return
			}
			answers <- nil
		}()
	}
	for range 20 {
		if err := wait(t, "a reload", answers); err != nil {
			t.Fatal(err)
		}
	}
	kill(n)
	if err := n.Reload(bg, options); err == nil {
		t.Fatal("after the end")
	}
}

// ---- the end ---------------------------------------------------------------------------------

func TestBeforeTheStartAndAfterTheEnd(t *testing.T) {
	n := NewNode(Options{Logger: quiet})
	Handle(n, "demo/add", add)
	uses := func() map[string]error {
		var last error
		for _, err := range Subscribe[int](bg, n, "demo/add", nil) {
			last = err
		}
		return map[string]error{
			"call":      second(Call[addOutput](bg, n, "demo/add", addInput{})),
			"subscribe": last,
			"reload":    n.Reload(bg, Options{}),
		}
	}
	for what, err := range uses() {
		if err != ErrNotRunning {
			t.Error(what, err)
		}
	}
	if err := n.Stop(bg); err != ErrNotRunning {
		t.Error(err)
	}
	if len(n.Listening()) != 0 {
		t.Error("it listens")
	}
	if err := n.Start(bg); err != nil {
		t.Fatal(err)
	}
	if err := n.Stop(bg); err != nil {
		t.Fatal(err)
	}
	wait(t, "Done is closed", n.Done())
	for what, err := range uses() {
		if err != ErrNotRunning {
			t.Error(what, err)
		}
	}
	if err := n.Stop(bg); err != nil {
		t.Error("the second stop: ", err)
	}
	if err := n.Start(bg); err == nil {
		t.Error("it starts again")
	}
	defer func() {
		if recover() == nil {
			t.Error("Handle after the start")
		}
	}()
	Handle(n, "demo/late", add)
}

func TestAGracefulStopLetsCallsEnd(t *testing.T) {
	began, goOn := make(chan bool), make(chan bool)
	n := run(t, Options{}, func(n *Node) {
		Handle(n, "wait", func(ctx context.Context, _ struct{}) (string, error) { began <- true; <-goOn; return "well", nil })
	})
	out := make(chan string, 1)
	go func() {
		s, err := Call[string](bg, n, "wait", nil)
		out <- fmt.Sprint(s, err)
	}()
	wait(t, "the call begins", began)
	done := make(chan error, 1)
	go func() { done <- n.Stop(bg) }()
	wait(t, "Draining is closed", n.Draining())
	if _, err := Call[string](bg, n, "wait", nil); err == nil {
		t.Fatal("a new call is taken")
	}
	close(goOn)
	if s := wait(t, "the call ends", out); s != "well<nil>" {
		t.Fatal(s)
	}
	if err := wait(t, "the node stops", done); err != nil {
		t.Fatal(err)
	}
}

func TestAStopWhoseTimeIsOverCancels(t *testing.T) {
	began, ended := make(chan bool), make(chan error, 1)
	n := run(t, Options{}, func(n *Node) {
		Handle(n, "wait", func(ctx context.Context, _ struct{}) (int, error) {
			began <- true
			<-ctx.Done()
			ended <- ctx.Err()
			return 0, nil
		})
	})
	out := make(chan error, 1)
	go func() { out <- second(Call[int](bg, n, "wait", nil)) }()
	wait(t, "the call begins", began)
	ctx, cancel := context.WithTimeout(bg, 50*time.Millisecond)
	defer cancel()
	if err := n.Stop(ctx); err != context.DeadlineExceeded {
		t.Fatal(err)
	}
	var fault *CallError
	if err := wait(t, "the call ends", out); !errors.As(err, &fault) {
		t.Fatal(err)
	}
	if err := wait(t, "the handler's context is done", ended); err == nil {
		t.Fatal("without an error")
	}
}

func TestServe(t *testing.T) {
	n := NewNode(listening())
	Handle(n, "demo/add", add)
	ctx, cancel := context.WithCancel(bg)
	done := make(chan error, 1)
	go func() { done <- n.Serve(ctx) }()
	within(t, "it listens", func() bool { return len(n.Listening()) == 1 })
	if status, body := post(t, n, "demo/add", `{"a":1,"b":2}`); status != 200 {
		t.Fatal(status, body)
	}
	cancel()
	http.DefaultClient.CloseIdleConnections()
	if err := wait(t, "it stops", done); err != nil {
		t.Fatal(err)
	}
	if err := NewNode(Options{Listen: []string{"x"}}).Serve(bg); err == nil {
		t.Fatal("options that are wrong")
	}
	n = NewNode(Options{Logger: quiet})
	go func() { done <- n.Serve(bg) }()
	within(t, "it runs", func() bool { return n.Stop(bg) == nil })
	if err := wait(t, "it stops when somebody else stops it", done); err != nil {
		t.Fatal(err)
	}
}

func TestTheLogGoesToTheLogger(t *testing.T) {
	said := &logs{}
	options := listening()
	options.Logger = said.logger()
	options.Config = map[string]any{"log": map[string]any{"level": "info"}}
	n := run(t, options, func(n *Node) { Handle(n, "demo/add", add) })
	post(t, n, "demo/add", `{"a":1,"b":2}`)
	within(t, "a line for the call", func() bool {
		return strings.Contains(said.String(), `msg="alknet: call"`) && strings.Contains(said.String(), "operation=demo/add")
	})
	within(t, "a line for the listener", func() bool { return strings.Contains(said.String(), `msg="alknet: listening"`) })
	wantText(t, said, "level=INFO", "outcome=ok", fmt.Sprintf("port=%d", n.Listening()[0].Port))
}

// Go gets its signals, the library's threads none.
func TestSignalsAreGos(t *testing.T) {
	n := run(t, Options{}, func(n *Node) { Handle(n, "demo/add", add) })
	got := make(chan os.Signal, 100)
	signal.Notify(got, syscall.SIGUSR1, syscall.SIGHUP)
	defer signal.Stop(got)
	for i := range 100 {
		kind := []syscall.Signal{syscall.SIGUSR1, syscall.SIGHUP}[i%2]
		if err := syscall.Kill(syscall.Getpid(), kind); err != nil {
			t.Fatal(err)
		}
		if s := wait(t, "the signal", got); s != kind {
			t.Fatal(s)
		}
		if _, err := Call[addOutput](bg, n, "demo/add", addInput{1, 2}); err != nil {
			t.Fatal(err)
		}
	}
	threads, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		t.Fatal(err)
	}
	ours := 0
	for _, thread := range threads {
		status, _ := os.ReadFile(thread + "/status")
		for _, line := range strings.Split(string(status), "\n") {
			// All that can be blocked: not SIGKILL and SIGSTOP, nor the C library's own two.
			if blocked, ok := strings.CutPrefix(line, "SigBlk:\t"); ok && strings.HasPrefix(blocked, "fffffff") {
				ours++
			}
		}
	}
	if ours < 2 {
		t.Fatalf("%d threads block all signals", ours)
	}
}

func TestVersions(t *testing.T) {
	if libraryVersion() == "" || checkVersion() != nil {
		t.Fatal(libraryVersion(), checkVersion())
	}
	for _, c := range []struct {
		ours, loaded string
		good         bool
	}{
		{"0.1.0", "0.1.0", true}, {"0.1.0", "0.1.7", true}, {"0.1.3", "0.1.0", true}, {"0.1.0", "0.2.0", false},
		{"0.1.0", "1.1.0", false}, {"1.2.0", "1.3.0", true}, {"1.2.0", "2.2.0", false}, {"0.1.0", "", false},
		{"0.10.0", "0.1.0", false},
	} {
		err := fits(c.ours, c.loaded)
		if (err == nil) != c.good {
			t.Error(c, err)
		}
		if err != nil {
			wantText(t, err, c.ours, c.loaded)
		}
	}
}
