package alknet

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"iter"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// files is a folder for keys and sockets; the path of a socket has to be short.
func files(t *testing.T) string {
	folder, err := os.MkdirTemp("", "go")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	return folder
}

// key makes an Ed25519 key; its fingerprint is that of its public half.
func key(t *testing.T, path string) (fingerprint string) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return "ed25519:" + hex.EncodeToString(public)
}

// selfSigned makes a certificate for loopback and its key.
func selfSigned(t *testing.T, certificate, keyFile string) (fingerprint string) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		certificate: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sum := sha256.Sum256(der)
	return "SHA256:" + hex.EncodeToString(sum[:])
}

// A node that listens in every way, and who it is there.
func TestDialOverEveryTransport(t *testing.T) {
	folder := files(t)
	certificate := filepath.Join(folder, "cert.pem")
	pin := selfSigned(t, certificate, filepath.Join(folder, "cert.key"))
	clientPin := selfSigned(t, filepath.Join(folder, "client.pem"), filepath.Join(folder, "client.key"))
	serverKey := key(t, filepath.Join(folder, "node.key"))
	spokeKey := key(t, filepath.Join(folder, "spoke.key"))
	socket := filepath.Join(folder, "s")
	n := run(t, Options{
		Config: map[string]any{
			"listen": []any{
				map[string]any{"host": "127.0.0.1", "port": 0},
				map[string]any{"host": "127.0.0.1", "port": 0, "tls": true},
				map[string]any{"host": "127.0.0.1", "port": 0, "quic": true},
			},
			"node_key": filepath.Join(folder, "node.key"),
			"tls": map[string]any{"certificates": []any{map[string]any{
				"certificate": certificate, "key": filepath.Join(folder, "cert.key")}}},
			"peers": []any{map[string]any{"peer_id": "spoke", "fingerprints": []string{spokeKey, clientPin}, "scopes": []string{"all"}}},
		},
		Listen: []string{"unix:" + socket},
		Tokens: map[string]Identity{token: {Scopes: []string{"all"}}},
	}, func(n *Node) {
		Handle(n, "who", func(ctx context.Context, _ struct{}) (string, error) {
			if who := Info(ctx).Identity; who != nil {
				return who.ID, nil
			}
			return "nobody", nil
		})
	})
	at := n.Listening()
	if len(at) != 4 || at[3].Path != socket {
		t.Fatalf("%+v", at)
	}
	clear, tls, quic := at[0].Port, at[1].Port, at[2].Port
	for _, c := range []struct {
		url     string
		options []DialOption
		who     string // or a part of the error
	}{
		{fmt.Sprintf("ws://127.0.0.1:%d", clear), []DialOption{Token(token)}, token[:8]},
		{fmt.Sprintf("ws://127.0.0.1:%d", clear), []DialOption{Token("alk_test_token_of_nobody")}, "401"},
		{fmt.Sprintf("ws://127.0.0.1:%d/nothing", clear), []DialOption{Token(token)}, "404"},
		{fmt.Sprintf("wss://127.0.0.1:%d", tls), []DialOption{Token(token), Pin(pin)}, token[:8]},
		{fmt.Sprintf("wss://localhost:%d", tls), []DialOption{Token(token), CA(certificate)}, token[:8]},
		{fmt.Sprintf("wss://127.0.0.1:%d", tls), []DialOption{Token(token)}, "certificate"},
		{fmt.Sprintf("alknet+tls://127.0.0.1:%d", tls), []DialOption{Pin(pin),
			Certificate(filepath.Join(folder, "client.pem"), filepath.Join(folder, "client.key"))}, "spoke"},
		{fmt.Sprintf("alknet+tls://127.0.0.1:%d", tls), []DialOption{Pin(pin), Token(token)}, token[:8]},
		{fmt.Sprintf("alknet://127.0.0.1:%d", quic), []DialOption{Pin(serverKey), Key(filepath.Join(folder, "spoke.key"))}, "spoke"},
		{fmt.Sprintf("alknet://127.0.0.1:%d#%s", quic, serverKey), []DialOption{Key(filepath.Join(folder, "spoke.key"))}, "spoke"},
		{fmt.Sprintf("alknet://127.0.0.1:%d", quic), []DialOption{Pin(spokeKey), Key(filepath.Join(folder, "spoke.key"))}, ""},
		{"ws+unix:" + socket, []DialOption{Token(token)}, token[:8]},
		{"ws+unix:" + socket + "x", []DialOption{Token(token)}, "no such"},
		{"http://127.0.0.1:1", nil, "ws://127.0.0.1:1"},
		{"https://127.0.0.1:1", nil, "wss://127.0.0.1:1"},
		{"ftp://127.0.0.1", nil, "url"},
		{"nonsense", nil, "url"},
		{"ws://127.0.0.1:1", nil, "refused"},
		{"ws://127.0.0.1:1\x00", nil, "NUL"},
		{fmt.Sprintf("ws://127.0.0.1:%d", clear), []DialOption{Token("\xff")}, "UTF-8"},
		{fmt.Sprintf("ws://127.0.0.1:%d", clear), []DialOption{TokenFile(folder + "/nothing")}, "nothing"},
	} {
		ctx, cancel := context.WithTimeout(bg, 20*time.Second)
		conn, err := Dial(ctx, c.url, c.options...)
		if err != nil {
			if strings.Contains(c.who, "spoke") || c.who == token[:8] || !strings.Contains(err.Error(), c.who) || ctx.Err() != nil {
				t.Errorf("%s: want %q, got: %v", c.url, c.who, err)
			}
			cancel()
			continue
		}
		who, err := Call[string](ctx, conn, "who", nil)
		if err != nil || who != c.who {
			t.Errorf("%s: want %q, got %q, %v", c.url, c.who, who, err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		wait(t, "the connection is over", conn.Done())
		if conn.Close() == nil {
			t.Errorf("%s: it is closed twice", c.url)
		}
		if _, err := Call[string](ctx, conn, "who", nil); err == nil {
			t.Errorf("%s: a call after the end", c.url)
		}
		if conn.Err() == nil {
			t.Errorf("%s: no reason of the end", c.url)
		}
		cancel()
	}
}

func TestAConnectionEndsWithItsServer(t *testing.T) {
	n := run(t, listening(), func(n *Node) {
		Handle(n, "wait", func(ctx context.Context, _ struct{}) (int, error) { <-ctx.Done(); return 0, nil })
	})
	conn, err := Dial(bg, "ws://"+base(n), Token(token))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if conn.Err() != nil || conn.Address() == "" || conn.Missing() != "" {
		t.Fatal(conn.Err(), conn.Address(), conn.Missing())
	}
	done := make(chan error, 1)
	go func() { done <- second(Call[int](bg, conn, "wait", nil)) }()
	time.Sleep(20 * time.Millisecond)
	kill(n)
	var fault *CallError
	if err := wait(t, "the call fails", done); !errors.As(err, &fault) {
		t.Fatal(err)
	}
	wait(t, "the connection ends", conn.Done())
	var why *CloseError
	if !errors.As(conn.Err(), &why) || why.Message == "" {
		t.Fatal(conn.Err())
	}
	if _, err := Call[int](bg, conn, "wait", nil); err != ErrConnClosed {
		t.Fatal(err)
	}
}

func TestAServerCallsItsClientBack(t *testing.T) {
	for _, workers := range []int{1, 3} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) {
			for range 4 * workers { // by whatever worker
				callBack(t, workers)
			}
		})
	}
}

func callBack(t *testing.T, workers int) {
	sessions := make(chan *Conn, 1)
	options := listening()
	options.Config = map[string]any{"workers": workers}
	server := run(t, options, func(n *Node) {
		Handle(n, "hello", func(ctx context.Context, _ struct{}) (string, error) {
			conn := Info(ctx).Connection
			sessions <- conn
			return Call[string](ctx, conn, "name", nil)
		})
	})
	client := run(t, Options{}, func(n *Node) {
		Handle(n, "name", func(context.Context, struct{}) (string, error) { return "Ada", nil })
		HandleStream(n, "count", func(_ context.Context, to int) iter.Seq2[int, error] { return count(to) })
	})
	conn, err := client.Dial(bg, "ws://"+base(server), Token(token))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := Call[string](bg, conn, "hello", nil); err != nil || out != "Ada" {
		t.Fatal(out, err)
	}
	session := <-sessions
	seen := 0
	for range Subscribe[int](bg, session, "count", 5) {
		seen++
	}
	if seen != 5 || session.Identity() == nil || session.Identity().ID != token[:8] {
		t.Fatal(seen, session.Identity())
	}
	if err := session.Close(); err != nil {
		t.Fatal(err)
	}
	wait(t, "the session is over", session.Done())
	wait(t, "the connection is over", conn.Done())
	if _, err := Call[string](bg, session, "name", nil); err != ErrConnClosed {
		t.Fatal(err)
	}
	if session.Close() == nil {
		t.Fatal("it is closed twice")
	}
}

// A hub reaches what a spoke serves by the spoke's name.
func TestHubAndSpoke(t *testing.T) {
	hub := run(t, Options{
		Listen: []string{"127.0.0.1:0"},
		Tokens: map[string]Identity{token: {ID: "spoke"}},
	}, func(n *Node) {
		Handle(n, "ask", func(ctx context.Context, _ struct{}) (string, error) {
			return Call[string](ctx, Nested, "spoke/name", nil, Peer("spoke"))
		}, Authority(Identity{ID: "hub"}), Environment("spoke/*"))
	})
	spoke := run(t, Options{}, func(n *Node) {
		Handle(n, "spoke/name", func(ctx context.Context, _ struct{}) (string, error) { return "here", nil })
	})
	conn, err := spoke.Dial(bg, "ws://"+base(hub), Token(token), Reconnect(time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	within(t, "the hub has imported it", func() bool {
		_, err := Call[string](bg, hub, "spoke/name", nil, Peer("spoke"))
		return err == nil
	})
	for _, on := range []struct {
		name    string
		options []CallOption
	}{{"spoke/name", nil}, {"spoke/name", []CallOption{Peer("spoke")}}, {"ask", nil}} {
		if out, err := Call[string](bg, hub, on.name, nil, on.options...); err != nil || out != "here" {
			t.Fatal(on, out, err)
		}
	}
	_, err = Call[string](bg, hub, "spoke/name", nil, Peer("nobody"))
	wantCode(t, err, CodeNotFound)
	conn.Close()
	wait(t, "the connection ends", conn.Done())
	within(t, "the hub has lost it", func() bool {
		_, err := Call[string](bg, hub, "spoke/name", nil)
		return codeOf(err) == CodeNotFound
	})
}

func TestReconnect(t *testing.T) {
	at, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := at.Addr().String()
	at.Close()
	client := run(t, Options{}, nil)
	ctx, cancel := context.WithTimeout(bg, 500*time.Millisecond)
	defer cancel()
	_, err = client.Dial(ctx, "ws://"+address, Reconnect(time.Millisecond))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "refused") {
		t.Fatal(err)
	}
	dialled := make(chan *Conn, 1)
	go func() {
		conn, err := client.Dial(bg, "ws://"+address, Token(token), Reconnect(time.Millisecond))
		if err != nil {
			t.Error(err)
		}
		dialled <- conn
	}()
	options := listening()
	options.Listen = []string{address}
	for range 2 {
		server := NewNode(options)
		Handle(server, "demo/add", add)
		if err := server.Start(bg); err != nil {
			t.Fatal(err)
		}
		conn := wait(t, "it is connected", dialled)
		within(t, "it is open", func() bool { return conn.Err() == nil })
		if out, err := Call[addOutput](bg, conn, "demo/add", addInput{1, 2}); err != nil || out.Sum != 3 {
			t.Fatal(out, err)
		}
		kill(server)
		within(t, "it is lost", func() bool { return conn.Err() != nil })
		if _, err := Call[addOutput](bg, conn, "demo/add", addInput{1, 2}); err == nil {
			t.Fatal("a call while it is lost")
		}
		dialled <- conn
	}
	conn := <-dialled
	select {
	case <-conn.Done():
		t.Fatal("it is over")
	default:
	}
	conn.Close()
	wait(t, "it is over", conn.Done())
}

func TestDialBeforeTheStartAndAfterTheEnd(t *testing.T) {
	n := NewNode(Options{Logger: quiet})
	if _, err := n.Dial(bg, "ws://127.0.0.1:1"); err != ErrNotRunning {
		t.Fatal(err)
	}
	if err := n.Start(bg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(bg)
	cancel()
	if _, err := n.Dial(ctx, "ws://127.0.0.1:1"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	kill(n)
	if _, err := n.Dial(bg, "ws://127.0.0.1:1"); err == nil {
		t.Fatal("after the end")
	}
}

// What a handler reaches of others: of the connection by which its call came, and of single peers.
func TestNestedCallsOfOthers(t *testing.T) {
	hub := run(t, Options{
		Listen: []string{"127.0.0.1:0"},
		Tokens: map[string]Identity{token: {ID: "one"}, token + "2": {ID: "two"}},
	}, func(n *Node) {
		may := []OperationOption{Authority(Identity{ID: "hub"}), Environment("back/*"), Pinned("one/name")}
		ask := func(options ...CallOption) func(ctx context.Context, _ struct{}) (string, error) {
			return func(ctx context.Context, _ struct{}) (string, error) {
				out, err := Call[string](ctx, Nested, "name", nil, options...)
				if err != nil {
					return codeOf(err), nil
				}
				return out, nil
			}
		}
		Handle(n, "one", ask(Peer("one")), may...)
		Handle(n, "two", ask(Peer("two")), may...)
		Handle(n, "via", func(ctx context.Context, _ struct{}) (string, error) {
			return Call[string](ctx, Nested, "back/name", nil, Via(Info(ctx).Connection))
		}, may...)
	})
	conns := map[string]*Conn{}
	for name, token := range map[string]string{"one": token, "two": token + "2"} {
		spoke := run(t, Options{}, func(n *Node) {
			Handle(n, "name", func(context.Context, struct{}) (string, error) { return name, nil })
			Handle(n, "back/name", func(context.Context, struct{}) (string, error) { return "back at " + name, nil })
		})
		conn, err := spoke.Dial(bg, "ws://"+base(hub), Token(token))
		if err != nil || conn.Missing() != "" {
			t.Fatal(err, conn.Missing())
		}
		conns[name] = conn
	}
	for operation, want := range map[string]string{"one": "one", "two": CodeNotFound} {
		if out, err := Call[string](bg, hub, operation, nil); err != nil || out != want {
			t.Error(operation, out, err)
		}
	}
	for name, conn := range conns {
		if out, err := Call[string](bg, conn, "via", nil); err != nil || out != "back at "+name {
			t.Error(name, out, err)
		}
	}
}

func TestImport(t *testing.T) {
	server := run(t, listening(), func(n *Node) {
		Handle(n, "demo/add", add)
		Handle(n, "demo/other", add)
	})
	client := run(t, Options{Config: map[string]any{"peers": []any{map[string]any{"peer_id": "server", "websocket": true}}}}, nil)
	conn, err := client.Dial(bg, "ws://"+base(server), Token(token), Import("far", "demo/add"), RemotePeer("server"))
	if err != nil {
		t.Fatal(err)
	}
	if conn.Missing() != "" || conn.Identity() == nil || conn.Identity().ID != "server" {
		t.Fatal(conn.Missing(), conn.Identity())
	}
	if out, err := Call[addOutput](bg, client, "far/demo/add", addInput{1, 2}); err != nil || out.Sum != 3 {
		t.Fatal(out, err)
	}
	_, err = Call[addOutput](bg, client, "far/demo/other", addInput{1, 2})
	wantCode(t, err, CodeNotFound)
	conn.Close()
	wait(t, "it is over", conn.Done())
	_, err = Call[addOutput](bg, client, "far/demo/add", addInput{1, 2})
	wantCode(t, err, CodeNotFound)
	// What cannot be imported is told, and leaves the connection as it is.
	conn, err = client.Dial(bg, "ws://"+base(server), Token(token), Import("services"), Announce())
	if err != nil || conn.Missing() == "" {
		t.Fatal(err, " nothing is missing")
	}
	if out, err := Call[addOutput](bg, conn, "demo/add", addInput{1, 2}); err != nil || out.Sum != 3 {
		t.Fatal(out, err)
	}
}
