package alknet

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
)

// program is one of examples/ that runs until the test is over.
type program struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	lines *bufio.Scanner
	err   bytes.Buffer
}

func start(t *testing.T, path string, env []string, args ...string) *program {
	p := &program{t: t, name: filepath.Base(path), cmd: exec.Command(path, args...)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = &p.err
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewScanner(out)
	t.Cleanup(func() { p.cmd.Process.Kill() })
	return p
}

// says is what the line has behind some words.
func (p *program) says(words string) string {
	p.t.Helper()
	for p.lines.Scan() {
		if rest, ok := strings.CutPrefix(p.lines.Text(), words); ok {
			return strings.TrimSpace(rest)
		}
	}
	p.t.Fatalf("%s did not say %q: %s", p.name, words, p.err.String())
	return ""
}

// ends after a signal, well.
func (p *program) ends() {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	io.Copy(io.Discard, readerOf(p.lines))
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("%s: %v: %s", p.name, err, p.err.String())
	}
}

func readerOf(lines *bufio.Scanner) io.Reader {
	for lines.Scan() {
	}
	return strings.NewReader("")
}

// build builds as this test was built, so that nothing is compiled twice.
func build(t *testing.T, to, packages string) {
	t.Helper()
	args := []string{"build", "-ldflags=-s -w", "-o", to}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "-race" || setting.Key == "-tags" {
				args = append(args, setting.Key+"="+setting.Value)
			}
		}
	}
	out, err := exec.Command("go", append(args, packages)...).CombinedOutput()
	if err != nil {
		t.Fatal(err, string(out))
	}
}

func TestExamples(t *testing.T) {
	folder := t.TempDir() + "/"
	build(t, folder, "./examples/...")

	t.Run("serve and call", func(t *testing.T) {
		t.Setenv("ALKNET_TOKEN", token)
		serve := start(t, folder+"serve", nil, "127.0.0.1:0")
		url := strings.Replace(serve.says("listening on "), "http://", "ws://", 1)
		out, err := exec.Command(folder+"call", url).CombinedOutput()
		if err != nil || string(out) != "sum 3\ntick true\ntick true\ntick true\n" {
			t.Error(string(out), err)
		}
		serve.ends()
	})
	t.Run("hub and spoke", func(t *testing.T) {
		env := []string{"SPOKE_TOKEN=alk_test_token_of_the_spoke", "CALLER_TOKEN=" + token}
		hub := start(t, folder+"hub", env, "127.0.0.1:0")
		url := hub.says("listening on ")
		spoke := start(t, folder+"spoke", env, strings.Replace(url, "http://", "ws://", 1))
		spoke.says("connected to ")
		name, _ := os.Hostname()
		within(t, "the hub asks the spoke", func() bool {
			rq, _ := http.NewRequest("POST", url+"/call", strings.NewReader(`{"operation":"hub/ask","input":{"spoke":"spoke-1"}}`))
			rq.Header.Set("Authorization", "Bearer "+token)
			rq.Header.Set("Content-Type", "application/json")
			answer, err := http.DefaultClient.Do(rq)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			text, _ := io.ReadAll(answer.Body)
			return answer.StatusCode == 200 && strings.Contains(string(text), name)
		})
		http.DefaultClient.CloseIdleConnections()
		spoke.ends()
		hub.ends()
	})
	t.Run("live", func(t *testing.T) {
		live := start(t, folder+"live", nil, "127.0.0.1:0")
		url := live.says("listening on ")
		page, err := http.Get(url + "/")
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(page.Body)
		page.Body.Close()
		wantText(t, string(text), "<title>live</title>")
		_, path, _ := strings.Cut(string(text), "new EventSource('")
		path, _, _ = strings.Cut(path, "'")
		events, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer events.Body.Close()
		lines, seen := bufio.NewScanner(events.Body), 0
		for seen < 3 && lines.Scan() {
			if strings.HasPrefix(lines.Text(), "data: ") {
				wantText(t, lines.Text(), `"heap":`, `"goroutines":`)
				seen++
			}
		}
		if seen != 3 {
			t.Error(seen, " values")
		}
		live.ends()
	})
}

// A library of another version is refused, with both versions, before anything of it is used.
func TestAnotherVersionOfTheLibrary(t *testing.T) {
	folder := t.TempDir()
	build(t, folder+"/serve", "./examples/serve")
	symbols, err := exec.Command("nm", "-D", "--undefined-only", folder+"/serve").Output()
	if err != nil {
		t.Fatal(err)
	}
	source, node := "const char *alk_version(void) { return \"7.8.9\"; }\n", ""
	for _, field := range strings.Fields(string(symbols)) {
		name, version, _ := strings.Cut(field, "@")
		if strings.HasPrefix(name, "alk_") && name != "alk_version" {
			source += "void " + name + "(void) { __builtin_trap(); }\n"
			node = version
		}
	}
	soname, err := exec.Command("sh", "-c", "readelf -d "+folder+"/serve | sed -n 's/.*NEEDED.*\\[\\(libalknet.so[^]]*\\)\\]/\\1/p'").Output()
	if err != nil || len(soname) == 0 {
		t.Skip("linked statically")
	}
	for file, text := range map[string]string{"other.c": source, "other.map": node + " { alk_*; };\n"} {
		if err := os.WriteFile(folder+"/"+file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	name := strings.TrimSpace(string(soname))
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-Wl,-soname,"+name, "-Wl,--version-script="+folder+"/other.map", "-o", folder+"/"+name, folder+"/other.c").CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	cmd := exec.Command(folder+"/serve", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+folder)
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatal("it has started")
	}
	wantText(t, string(out), Version, "7.8.9")
}
