package main // a page that shows live data:  live [127.0.0.1:4780], then look at http://127.0.0.1:4780

import (
	"context"
	_ "embed"
	"fmt"
	"iter"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	alknet "alknet.dev/alknet-go"
)

//go:embed index.html
var page []byte

type Memory struct {
	At         time.Time `json:"at"`
	Heap       uint64    `json:"heap"`
	Goroutines int       `json:"goroutines"`
}

func memory(ctx context.Context, _ struct{}) iter.Seq2[Memory, error] {
	return func(yield func(Memory, error) bool) {
		for {
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			if !yield(Memory{time.Now(), stats.HeapAlloc, runtime.NumGoroutine()}, nil) {
				return
			}
			select {
			case <-time.After(250 * time.Millisecond):
			case <-ctx.Done():
				return
			}
		}
	}
}

func main() {
	address := "127.0.0.1:4780"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	site, err := os.MkdirTemp("", "live")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(site)
	if err := os.WriteFile(filepath.Join(site, "index.html"), page, 0o644); err != nil {
		log.Fatal(err)
	}
	node := alknet.NewNode(alknet.Options{
		Listen: []string{address},
		Config: map[string]any{
			"gateway": map[string]any{"decoy": map[string]any{"kind": "static_site", "target": site}},
		},
	})
	alknet.HandleStream(node, "process/memory", memory)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := node.Start(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", node.Listening()[0].URL)
	<-ctx.Done()
	// Pages stay open for ever: they are not waited for.
	now, cancel := context.WithCancel(context.Background())
	cancel()
	node.Stop(now)
}
