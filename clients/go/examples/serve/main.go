package main // a node with a query and a subscription, for anyone on this machine:  serve [127.0.0.1:4780]

import (
	"context"
	"fmt"
	"iter"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	alknet "alknet.dev/alknet-go"
)

type AddInput struct {
	A int `json:"a" jsonschema:"description=the first number"`
	B int `json:"b"`
}

type AddOutput struct {
	Sum int `json:"sum"`
}

func add(ctx context.Context, in AddInput) (AddOutput, error) {
	return AddOutput{in.A + in.B}, nil
}

type ClockInput struct {
	EveryMS int `json:"every_ms" jsonschema:"minimum=1"`
}

func clock(ctx context.Context, in ClockInput) iter.Seq2[time.Time, error] {
	return func(yield func(time.Time, error) bool) {
		ticker := time.NewTicker(time.Duration(in.EveryMS) * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case now := <-ticker.C:
				if !yield(now, nil) {
					return
				}
			case <-ctx.Done(): // the caller has left, or its connection is lost
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
	options := alknet.Options{Listen: []string{address}}
	if token := os.Getenv("ALKNET_TOKEN"); token != "" { // a connection for calls needs one
		options.Tokens = map[string]alknet.Identity{token: {}}
	}
	node := alknet.NewNode(options)
	alknet.Handle(node, "demo/add", add, alknet.Description("Adds two numbers."))
	alknet.HandleStream(node, "demo/clock", clock)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := node.Start(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", node.Listening()[0].URL)
	<-ctx.Done()
	if err := node.Stop(context.Background()); err != nil {
		log.Fatal(err)
	}
}
