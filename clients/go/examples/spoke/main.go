package main // serves an operation through a hub, behind whatever firewall:  spoke [ws://127.0.0.1:4780]

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	alknet "alknet.dev/alknet-go"
)

func main() {
	url := "ws://127.0.0.1:4780"
	if len(os.Args) > 1 {
		url = os.Args[1]
	}
	node := alknet.NewNode(alknet.Options{})
	alknet.Handle(node, "spoke/name", func(context.Context, struct{}) (string, error) { return os.Hostname() })

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := node.Start(ctx); err != nil {
		log.Fatal(err)
	}
	// The hub imports what is served here, as that of the peer whose token it is, and again after each loss.
	hub, err := node.Dial(ctx, url, alknet.Token(os.Getenv("SPOKE_TOKEN")), alknet.Reconnect(0))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("connected to", hub.Address())
	<-ctx.Done()
	if err := node.Stop(context.Background()); err != nil {
		log.Fatal(err)
	}
}
