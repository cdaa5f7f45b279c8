package main // a hub that reaches what its spokes serve, whoever of them is there:  hub [127.0.0.1:4780]

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	alknet "alknet.dev/alknet-go"
)

type AskInput struct {
	Spoke string `json:"spoke"`
}

// ask calls, as the hub and as nobody else, what the environment of its operation lists.
func ask(ctx context.Context, in AskInput) (string, error) {
	return alknet.Call[string](ctx, alknet.Nested, "spoke/name", nil, alknet.Peer(in.Spoke))
}

func main() {
	address := "127.0.0.1:4780"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	node := alknet.NewNode(alknet.Options{
		Listen: []string{address},
		Tokens: map[string]alknet.Identity{
			os.Getenv("SPOKE_TOKEN"):  {ID: "spoke-1"},
			os.Getenv("CALLER_TOKEN"): {Scopes: []string{"ask"}},
		},
	})
	alknet.Handle(node, "hub/ask", ask,
		alknet.Access(alknet.AccessRule{RequiredScopes: []string{"ask"}}),
		alknet.Authority(alknet.Identity{ID: "hub", Scopes: []string{"spoke:name"}}),
		alknet.Environment("spoke/*"))

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
