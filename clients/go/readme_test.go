package alknet

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What the README shows is a whole program of examples/, or a piece of example_test.go, so it is
// compiled and run by the tests of these.
func TestTheReadmeShowsWhatIsRun(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var programs []string
	paths, _ := filepath.Glob("examples/*/main.go")
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		programs = append(programs, string(text))
	}
	flat := func(text string) string { return regexp.MustCompile(`\s+`).ReplaceAllString(text, " ") }
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	if len(blocks) < 4 {
		t.Fatal(len(blocks), " blocks of Go")
	}
	for _, block := range blocks {
		if slices.Contains(programs, block[1]) {
			continue
		}
		for _, piece := range strings.Split(block[1], "\n\n") {
			if !strings.Contains(flat(string(tests)), flat(strings.TrimSpace(piece))) {
				t.Errorf("nowhere to be found:\n%s", piece)
			}
		}
	}
}
